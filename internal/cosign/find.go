package cosign

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/input"
	"holdfast/internal/oci"
)

// The bounds on what may be beside an image. Who can push there could hide a
// signature behind more, as he could delete it.
const (
	maxReferrers = 100
	maxLayers    = 100
	maxPayload   = 1 << 20
)

// A Repository is where an image and its signatures lie. All that it gives is
// checked against the digest that was asked for.
type Repository interface {
	// Tag gives the manifest that a tag names; without one, it wraps ErrNoTag.
	Tag(ctx context.Context, tag string) ([]byte, error)
	// Referrers lists the manifests that refer to the image, of whatever type.
	Referrers(ctx context.Context, image oci.Digest) ([]v1.Descriptor, error)
	Manifest(ctx context.Context, d v1.Descriptor) ([]byte, error)
	// Blob gives a blob; d has at most a MiB.
	Blob(ctx context.Context, d v1.Descriptor) ([]byte, error)
}

// ErrNoTag is what a Repository wraps that has no such tag.
var ErrNoTag = errors.New("no such tag")

// Found is what lies beside an image.
type Found struct {
	Signatures []Signature
	// Unread are signatures that could not be read, and why. They count for
	// nothing, and hide none of the others.
	Unread []error
}

// Find reads the signatures of an image, in both forms.
func Find(ctx context.Context, in Repository, image oci.Digest) (Found, error) {
	var f Found
	descs, err := in.Referrers(ctx, image)
	if err != nil {
		return f, fmt.Errorf("referrers: %w", err)
	}
	read := 0
	for _, d := range descs {
		if !IsBundle(d.ArtifactType) && d.ArtifactType != "" {
			continue
		}
		if read++; read > maxReferrers {
			f.Unread = append(f.Unread, fmt.Errorf("there are more than %d", maxReferrers))
			break
		}
		f.note(string(d.Digest), f.readBundle(ctx, in, image, d))
	}
	raw, err := in.Tag(ctx, Tag(image))
	if errors.Is(err, ErrNoTag) {
		return f, ctx.Err()
	}
	if err != nil {
		return f, fmt.Errorf("tag %s: %w", Tag(image), err)
	}
	f.readSimple(ctx, in, raw)
	return f, ctx.Err()
}

func (f *Found) note(what string, err error) {
	if err != nil && !errors.Is(err, ErrOther) {
		f.Unread = append(f.Unread, fmt.Errorf("%s: %w", what, err))
	}
}

// readBundle reads the referrer that d names, if it is a bundle.
func (f *Found) readBundle(ctx context.Context, in Repository, image oci.Digest, d v1.Descriptor) error {
	raw, err := in.Manifest(ctx, d)
	if err != nil {
		return err
	}
	var m v1.Manifest
	if err := input.JSON(raw, &m); err != nil {
		return err
	}
	if len(m.Layers) != 1 || !IsBundle(m.Layers[0].MediaType) {
		return ErrOther
	}
	if m.Subject == nil || string(m.Subject.Digest) != string(image) {
		return fmt.Errorf("does not refer to %s", image)
	}
	raw, err = blob(ctx, in, m.Layers[0])
	if err != nil {
		return err
	}
	s, err := ParseBundle(raw)
	if err == nil {
		f.Signatures = append(f.Signatures, s)
	}
	return err
}

// readSimple reads the layers of the tag's manifest.
func (f *Found) readSimple(ctx context.Context, in Repository, raw []byte) {
	var m v1.Manifest
	if err := input.JSON(raw, &m); err != nil {
		f.note("older signatures", err)
		return
	}
	for i, layer := range m.Layers {
		if i == maxLayers {
			f.note("older signatures", fmt.Errorf("there are more than %d", maxLayers))
			return
		}
		if layer.MediaType != SimpleType {
			continue
		}
		payload, err := blob(ctx, in, layer)
		if err == nil {
			var s Signature
			if s, err = ParseSimple(payload, layer.Annotations[signatureAnnotation]); err == nil {
				f.Signatures = append(f.Signatures, s)
			}
		}
		f.note(string(layer.Digest), err)
	}
}

func blob(ctx context.Context, in Repository, d v1.Descriptor) ([]byte, error) {
	if _, err := oci.ParseDigest(string(d.Digest)); err != nil {
		return nil, err
	}
	if d.Size < 0 || d.Size > maxPayload {
		return nil, fmt.Errorf("%s has %d bytes: want at most %d", d.Digest, d.Size, maxPayload)
	}
	return in.Blob(ctx, d)
}
