package transport

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/cosign"
	"holdfast/internal/oci"
)

// CopySigned copies an image to a layout so that its signatures can be judged
// there: an index stays what the name stands for, because it may be what was
// signed, though of its images only the one for the architecture is there.
func CopySigned(ctx context.Context, src, dst Ref, o Options) (Result, error) {
	o = o.withDefaults()
	s, err := Resolve(ctx, src, o)
	if err != nil {
		return Result{}, err
	}
	src = src.at(s.Digest) // the same image all along
	result, err := Copy(ctx, src, dst, o)
	if err != nil {
		return result, err
	}
	if err := carrySigned(ctx, src, dst, o); err != nil {
		return result, fmt.Errorf("copy the signatures of %s: %w", src, err)
	}
	return result, nil
}

// at is the reference of that which r names just now. An archive holds nothing
// else.
func (r Ref) at(d oci.Digest) Ref {
	switch r.Kind {
	case Registry:
		r.Remote = r.Remote.Context().Digest(string(d))
	case Layout:
		r.Name, r.Digest = "", d
	}
	return r
}

// beside is another tag where r is.
func (r Ref) beside(tag string) Ref {
	switch r.Kind {
	case Registry:
		r.Remote = r.Remote.Context().Tag(tag)
	case Layout:
		r.Name, r.Digest = tag, ""
	}
	return r
}

func carrySigned(ctx context.Context, src, dst Ref, o Options) error {
	if src.Kind == Archive { // cannot hold any
		return nil
	}
	from, err := openSource(ctx, src, o)
	if err != nil {
		return err
	}
	defer from.Close()
	desc, raw, err := from.root(ctx)
	if err != nil {
		return err
	}
	img := &image{source: from, desc: desc, raw: raw}
	bundles, err := img.bundles(ctx)
	if err != nil {
		return err
	}
	if err := img.write(ctx, dst, desc, raw, bundles, o); err != nil {
		return err
	}
	return img.carryOlder(ctx, dst, o)
}

// bundles are the signatures that refer to the image.
func (img *image) bundles(ctx context.Context) ([]artifact, error) {
	all, err := img.artifacts(ctx)
	var list []artifact
	for _, a := range all {
		if cosign.IsBundle(a.kind()) {
			list = append(list, a)
		}
	}
	return list, err
}

// write gives the manifest the name of dst, and lists the artifacts beside it.
func (img *image) write(ctx context.Context, dst Ref, desc ocispec.Descriptor, raw []byte, beside []artifact, o Options) error {
	to, err := openTarget(ctx, dst, o)
	if err != nil {
		return err
	}
	defer to.Close()
	for _, a := range beside {
		if err := img.put(ctx, to, a); err != nil {
			return err
		}
		if err := to.attach(ctx, a); err != nil {
			return err
		}
	}
	return to.tag(ctx, desc, raw)
}

func (img *image) put(ctx context.Context, to target, a artifact) error {
	for _, d := range a.blobs() {
		if err := to.put(ctx, small(d, img)); err != nil {
			return fmt.Errorf("%s: %w", d.Digest, err)
		}
	}
	return nil
}

// carryOlder brings the tag that holds signatures in the older form.
func (img *image) carryOlder(ctx context.Context, dst Ref, o Options) error {
	tag := cosign.Tag(oci.Digest(img.desc.Digest))
	desc, raw, err := img.tagged(ctx, tag)
	if err != nil { // a proxy whose upstream is down cannot say whether there are any
		if !errors.Is(err, ErrNotFound) {
			o.Logger.Warn("signatures of the older form are left behind", "tag", tag, "cause", err)
		}
		return ctx.Err()
	}
	older := artifact{desc: ocispec.Descriptor{MediaType: desc.MediaType, Digest: digest.Digest(oci.SHA256(raw)), Size: int64(len(raw))}, raw: raw}
	if err := older.parse(); err != nil {
		return fmt.Errorf("tag %s: %w", tag, err)
	}
	to, err := openTarget(ctx, dst.beside(tag), o)
	if err != nil {
		return err
	}
	defer to.Close()
	if err := img.put(ctx, to, older); err != nil {
		return err
	}
	return to.tag(ctx, older.desc, raw)
}
