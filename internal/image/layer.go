package image

import (
	"context"
	"crypto/sha256"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/blob/derived"
	"holdfast/internal/oci"
)

// A plain is bytes that are to be compressed. They can be written several times.
type plain struct {
	write func(io.Writer) error
	sum   oci.Digest
}

// newPlain hashes what write writes.
func newPlain(write func(io.Writer) error) (plain, error) {
	sum := sha256.New()
	err := write(sum)
	return plain{write, sumOf(sum)}, err
}

// A codec compresses to the same bytes wherever its id is the same. Of one with
// an empty id nothing is kept.
type codec interface {
	id() string
	pack(ctx context.Context, to io.Writer, write func(io.Writer) error) error
	unpackTo(to io.Writer, from io.Reader) error
}

// packed writes p compressed, as it was kept or as it is kept from now on.
// What is kept is believed only when it unpacks to p: a cache can spoil how
// bytes are compressed, never what they are.
func (b *build) packed(ctx context.Context, to io.Writer, c codec, p plain, m meter) error {
	pack := func(to io.Writer) error {
		return c.pack(ctx, to, func(w io.Writer) error { return p.write(io.MultiWriter(w, m)) })
	}
	if b.Derived == nil || c.id() == "" {
		return pack(to)
	}
	key := derived.KeyOf("packed", c.id(), string(p.sum))
	if e := b.Derived.Open(key); e != nil {
		defer e.Close()
		sum := sha256.New()
		if err := c.unpackTo(io.MultiWriter(sum, m), e); err == nil && sumOf(sum) == p.sum {
			_, err := io.Copy(to, io.NewSectionReader(e, 0, e.Size()))
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return b.Derived.Put(key, func(kept io.Writer) error { return pack(io.MultiWriter(to, kept)) })
}

// layer stores what fill writes as a compressed layer.
func (l *layout) layer(mediaType string, fill func(io.Writer) error) (v1.Descriptor, error) {
	f, err := os.CreateTemp(l.path(), "layer-*")
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer f.Close()
	sum := sha256.New()
	if err := fill(io.MultiWriter(f, sum)); err != nil {
		return v1.Descriptor{}, err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return v1.Descriptor{}, err
	}
	d := v1.Descriptor{MediaType: mediaType, Size: size, Digest: digest.Digest(sumOf(sum))}
	if err := f.Chmod(0o644); err != nil {
		return v1.Descriptor{}, err
	}
	return d, os.Rename(f.Name(), l.path("blobs", "sha256", d.Digest.Encoded()))
}
