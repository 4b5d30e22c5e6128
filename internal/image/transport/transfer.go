package transport

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	store "holdfast/internal/blob"
	"holdfast/internal/oci"
	"holdfast/internal/progress"
)

// A target is where an image is written.
type target interface {
	// put makes sure that the blob is there. It does not open what it has, and
	// may open again after a failure.
	put(ctx context.Context, b blob) error
	// attach stores what refers to the image; its blobs are there.
	attach(ctx context.Context, a artifact) error
	// listed makes what was attached to an image that is there already known.
	listed(ctx context.Context) error
	// tag gives the manifest its name; all blobs are there.
	tag(ctx context.Context, desc ocispec.Descriptor, raw []byte) error
	io.Closer
}

func openTarget(ctx context.Context, ref Ref, o Options) (target, error) {
	if ref.Kind == Layout {
		l, err := createLayout(ctx, ref)
		if err == nil && o.Parts != "" {
			l.parts = o.Parts
			store.SweepParts(o.Parts)
		}
		return l, err
	}
	return createRemote(ref, o)
}

// A blob on its way: what it is, and how to read it with each byte checked.
type blob struct {
	ocispec.Descriptor
	from *image
	read *atomic.Int64 // bytes that were read, as far as progress knows
	step progress.Step
}

func (b blob) open(ctx context.Context) (io.ReadCloser, error) {
	r, err := b.from.open(ctx, b.Descriptor)
	if err != nil {
		return nil, err
	}
	b.step.Add(-b.read.Swap(0)) // a second try starts anew
	return &counted{r, b}, nil
}

// skip takes back what was read only for its digest: it was not moved.
func (b blob) skip(n int64) {
	b.read.Add(-n)
	b.step.Add(-n)
}

// rest streams the blob from offset on, unchecked.
func (b blob) rest(ctx context.Context, offset int64) (*counted, error) {
	r, err := b.from.blob(ctx, b.Descriptor, offset)
	if err != nil {
		return nil, err
	}
	b.step.Add(-b.read.Swap(0))
	return &counted{r, b}, nil
}

type counted struct {
	io.ReadCloser
	b blob
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.b.read.Add(int64(n))
	c.b.step.Add(int64(n))
	return n, err
}

func transfer(ctx context.Context, img *image, to target, o Options) (Result, error) {
	todo := unique(img.blobs())
	result := Result{Digest: oci.Digest(img.desc.Digest), Size: int64(len(img.raw)) + sum(todo)}
	attached, err := carried(ctx, img, o)
	if err != nil {
		return Result{}, err
	}
	for _, a := range attached {
		todo = unique(append(todo, a.blobs()...))
	}
	result.Referrers = referrers(attached)
	step := o.Progress.Start("copy", sum(todo), progress.Bytes)
	var skipped atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(o.Jobs)
	for _, desc := range todo {
		g.Go(func() error {
			b := blob{desc, img, new(atomic.Int64), step}
			if err := to.put(gctx, b); err != nil {
				return fmt.Errorf("%s: %w", desc.Digest, err)
			}
			unread := desc.Size - b.read.Load()
			skipped.Add(unread)
			step.Add(unread)
			return nil
		})
	}
	err = g.Wait()
	for _, a := range attached {
		if err == nil {
			err = to.attach(ctx, a)
		}
	}
	if err == nil {
		err = to.tag(ctx, img.desc, img.raw)
	}
	if err != nil {
		step.Fail()
		return Result{}, err
	}
	result.Skipped = skipped.Load()
	step.Done(result.Digest.Short())
	return result, nil
}

// carried is what refers to the image and shall go along.
func carried(ctx context.Context, img *image, o Options) ([]artifact, error) {
	if !o.Referrers {
		return nil, nil
	}
	return img.artifacts(ctx)
}

func unique(descs []ocispec.Descriptor) []ocispec.Descriptor {
	seen := map[string]bool{}
	var once []ocispec.Descriptor
	for _, desc := range descs {
		if !seen[string(desc.Digest)] {
			seen[string(desc.Digest)] = true
			once = append(once, desc)
		}
	}
	return once
}

func sum(descs []ocispec.Descriptor) (total int64) {
	for _, desc := range descs {
		total += desc.Size
	}
	return total
}
