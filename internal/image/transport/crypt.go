package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"holdfast/internal/enc"
	"holdfast/internal/oci"
	"holdfast/internal/progress"
)

// Encrypt copies an image with each of its layers encrypted for the
// recipients. The config stays as it is and readable.
func Encrypt(ctx context.Context, src, dst Ref, recipients []enc.Recipient, o Options) (Result, error) {
	if len(recipients) == 0 {
		return Result{}, fmt.Errorf("encrypt %s: no recipient given", src)
	}
	c := crypter{verb: "encrypt", layer: func(ctx context.Context, r io.Reader, desc ocispec.Descriptor, l *layoutWriter) (ocispec.Descriptor, error) {
		return encryptLayer(ctx, r, desc, l, recipients)
	}}
	return c.run(ctx, src, dst, o.withDefaults())
}

// Decrypt copies an image with its encrypted layers decrypted by whichever of
// the keys fits.
func Decrypt(ctx context.Context, src, dst Ref, keys []enc.Key, o Options) (Result, error) {
	c := crypter{verb: "decrypt", layer: func(ctx context.Context, r io.Reader, desc ocispec.Descriptor, l *layoutWriter) (ocispec.Descriptor, error) {
		return decryptLayer(ctx, r, desc, l, keys)
	}}
	return c.run(ctx, src, dst, o.withDefaults())
}

// A crypter makes an image whose layers are another's, each passed through
// layer.
type crypter struct {
	verb  string
	layer func(ctx context.Context, r io.Reader, desc ocispec.Descriptor, l *layoutWriter) (ocispec.Descriptor, error)
}

func (c crypter) run(ctx context.Context, src, dst Ref, o Options) (Result, error) {
	img, err := open(ctx, src, o)
	if err != nil {
		return Result{}, fmt.Errorf("read %s: %w", src, err)
	}
	defer img.Close()
	result, err := c.write(ctx, img, dst, o)
	if err != nil {
		return Result{}, fmt.Errorf("%s %s to %s: %w", c.verb, src, dst, err)
	}
	result.Reference = dst.String()
	return result, nil
}

// write works in the destination when that is a layout. A registry wants a
// blob's digest before its bytes, so there the image is staged first.
func (c crypter) write(ctx context.Context, img *image, dst Ref, o Options) (Result, error) {
	if dst.Kind == Layout {
		w, err := createLayout(ctx, dst)
		if err != nil {
			return Result{}, err
		}
		result, err := c.convert(ctx, img, w, o)
		return result, errors.Join(err, w.Close())
	}
	tmp, err := stage(ctx, o, func(w *layoutWriter) error {
		_, err := c.convert(ctx, img, w, o)
		return err
	})
	if err != nil {
		return Result{}, err
	}
	made, err := load(ctx, tmp, "")
	if err != nil {
		return Result{}, errors.Join(err, tmp.Close())
	}
	defer made.Close()
	to, err := openTarget(ctx, dst, o)
	if err != nil {
		return Result{}, err
	}
	defer to.Close()
	return transfer(ctx, made, to, o)
}

func (c crypter) convert(ctx context.Context, img *image, l *layoutWriter, o Options) (Result, error) {
	step := o.Progress.Start(c.verb, sum(img.manifest.Layers), progress.Bytes)
	m, err := c.manifest(ctx, img, l, o, step)
	if err != nil {
		step.Fail()
		return Result{}, err
	}
	attached, err := c.attach(ctx, img, m, l, o)
	if err != nil {
		step.Fail()
		return Result{}, err
	}
	desc, raw, err := l.finish(ctx, m)
	if err != nil {
		step.Fail()
		return Result{}, err
	}
	digest := oci.Digest(desc.Digest)
	step.Done(digest.Short())
	size := int64(len(raw)) + m.Config.Size + sum(unique(m.Layers))
	return Result{Digest: digest, Size: size, Referrers: referrers(attached)}, nil
}

// attach carries along what refers to the image, if it shall, and has it refer
// to the new one.
func (c crypter) attach(ctx context.Context, img *image, m ocispec.Manifest, l *layoutWriter, o Options) ([]artifact, error) {
	if !o.Referrers {
		return nil, nil
	}
	list, err := img.artifacts(ctx)
	if err != nil {
		return nil, err
	}
	subject, _, err := describeManifest(m)
	if err != nil {
		return nil, err
	}
	for i, a := range list {
		for _, desc := range a.blobs() {
			content, err := img.read(ctx, desc, maxAttachment)
			if err == nil {
				_, err = l.add(ctx, desc.MediaType, bytesReader(content))
			}
			if err != nil {
				return nil, fmt.Errorf("referrer %s: %w", a.desc.Digest, err)
			}
		}
		if list[i], err = a.about(subject); err != nil {
			return nil, err
		}
		if err := l.attach(ctx, list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (c crypter) manifest(ctx context.Context, img *image, l *layoutWriter, o Options, step progress.Step) (ocispec.Manifest, error) {
	m := img.manifest
	m.Layers = make([]ocispec.Descriptor, len(m.Layers))
	config, err := img.read(ctx, m.Config, maxConfig)
	if err != nil {
		return m, err
	}
	if m.Config, err = l.add(ctx, ocispec.MediaTypeImageConfig, bytesReader(config)); err != nil {
		return m, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(o.Jobs)
	for i, desc := range img.manifest.Layers {
		g.Go(func() (err error) {
			m.Layers[i], err = c.one(ctx, img, desc, l, step)
			return err
		})
	}
	return m, g.Wait()
}

func (c crypter) one(ctx context.Context, img *image, desc ocispec.Descriptor, l *layoutWriter, step progress.Step) (ocispec.Descriptor, error) {
	r, err := img.open(ctx, desc)
	if err != nil {
		return desc, fmt.Errorf("layer %s: %w", desc.Digest, err)
	}
	defer r.Close()
	made, err := c.layer(ctx, progress.Reader(r, step), desc, l)
	if err != nil {
		return desc, fmt.Errorf("layer %s: %w", desc.Digest, err)
	}
	return made, nil
}

func encryptLayer(ctx context.Context, r io.Reader, desc ocispec.Descriptor, l *layoutWriter, to []enc.Recipient) (ocispec.Descriptor, error) {
	if enc.IsEncrypted(desc.MediaType) {
		return desc, errors.New("is encrypted already")
	}
	e, err := enc.Encrypt(r, enc.Config{Recipients: to, Digest: oci.Digest(desc.Digest)})
	if err != nil {
		return desc, err
	}
	made, err := l.add(ctx, ociLayer(desc.MediaType)+enc.Suffix, e)
	if err != nil {
		return desc, err
	}
	if made.Annotations, err = e.Annotations(); err != nil {
		return desc, err
	}
	for name, value := range enc.Others(desc.Annotations) {
		made.Annotations[name] = value
	}
	return made, nil
}

// decryptLayer goes by the MAC. The digest among the private options proves
// nothing: skopeo writes that of the layer before it compressed it.
func decryptLayer(ctx context.Context, r io.Reader, desc ocispec.Descriptor, l *layoutWriter, keys []enc.Key) (ocispec.Descriptor, error) {
	if !enc.IsEncrypted(desc.MediaType) {
		made, err := l.add(ctx, desc.MediaType, r)
		made.Annotations = desc.Annotations
		return made, err
	}
	options, err := enc.Unwrap(ctx, desc.Annotations, keys...)
	if err != nil {
		return desc, err
	}
	plain, err := enc.Decrypt(r, options)
	if err != nil {
		return desc, err
	}
	made, err := l.add(ctx, strings.TrimSuffix(desc.MediaType, enc.Suffix), plain)
	if err != nil {
		return desc, err
	}
	made.Annotations = enc.Others(desc.Annotations)
	return made, nil
}

// ociLayer is the OCI name of a layer's type: only those have encrypted forms.
func ociLayer(mediaType string) string {
	for docker, name := range map[string]string{
		dockerLayer:   ocispec.MediaTypeImageLayer,
		dockerForeign: ocispec.MediaTypeImageLayer,
	} {
		if rest, ok := strings.CutPrefix(mediaType, docker); ok {
			return name + strings.Replace(rest, ".", "+", 1)
		}
	}
	return mediaType
}

func bytesReader(b []byte) io.Reader { return bytes.NewReader(b) }
