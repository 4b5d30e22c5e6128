package image

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/atomicfile"
	"holdfast/internal/oci"
	"holdfast/internal/progress"
)

// A Compression of the layer.
type Compression string

// The compressions. Zstd is the default: a guest unpacks it several times
// faster than gzip, and skopeo, podman, containerd and Docker 23 read it.
const (
	Zstd Compression = "zstd"
	Gzip Compression = "gzip"
)

func (c Compression) mediaType() string {
	if c == Gzip {
		return v1.MediaTypeImageLayerGzip
	}
	return v1.MediaTypeImageLayerZstd
}

// writer compresses into w, as small as it can: images are made once, and what
// guests fetch, decrypt and unpack is dear. One goroutine, so that blocks never
// depend on how many processors there are.
func (c Compression) writer(w io.Writer) (io.WriteCloser, error) {
	switch c {
	case Gzip:
		return gzip.NewWriterLevel(w, gzip.BestCompression)
	case Zstd, "":
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(8<<20))
	default:
		return nil, fmt.Errorf("compression %q: want zstd or gzip", string(c))
	}
}

// A layout is an OCI image layout being written.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
type layout struct{ *folder }

func newLayout(path string) (*layout, error) {
	f, err := newFolder(path)
	if err != nil {
		return nil, err
	}
	l := &layout{f}
	if err := os.MkdirAll(l.path("blobs", "sha256"), 0o755); err != nil {
		l.discard()
		return nil, err
	}
	return l, nil
}

// layer stores the tar that write writes, and returns its descriptor and the
// digest of the tar inside.
func (l *layout) layer(ctx context.Context, write func(io.Writer) error, c Compression, step progress.Step) (v1.Descriptor, oci.Digest, error) {
	f, err := os.CreateTemp(l.path(), "layer-*")
	if err != nil {
		return v1.Descriptor{}, "", err
	}
	defer f.Close()
	packed, plain := sha256.New(), sha256.New()
	z, err := c.writer(io.MultiWriter(f, packed))
	if err != nil {
		return v1.Descriptor{}, "", err
	}
	if err := write(io.MultiWriter(z, plain, meter{ctx, step})); err != nil {
		return v1.Descriptor{}, "", err
	}
	if err := z.Close(); err != nil {
		return v1.Descriptor{}, "", err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return v1.Descriptor{}, "", err
	}
	d := v1.Descriptor{MediaType: c.mediaType(), Size: size, Digest: digest.Digest(sumOf(packed))}
	if err := errors.Join(f.Chmod(0o644), f.Sync()); err != nil {
		return v1.Descriptor{}, "", err
	}
	return d, sumOf(plain), os.Rename(f.Name(), l.path("blobs", "sha256", d.Digest.Encoded()))
}

// blob stores v as JSON.
func (l *layout) blob(mediaType string, v any) (v1.Descriptor, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return v1.Descriptor{}, err
	}
	d := v1.Descriptor{MediaType: mediaType, Size: int64(len(raw)), Digest: digest.FromBytes(raw)}
	return d, atomicfile.WriteFile(l.path("blobs", "sha256", d.Digest.Encoded()), raw, 0o644)
}

// finish writes the index, with the image called tag and what refers to it
// behind, and the mark of a layout.
func (l *layout) finish(manifest v1.Descriptor, tag string, referrers ...v1.Descriptor) error {
	manifest.Annotations = map[string]string{v1.AnnotationRefName: tag}
	index, err := json.Marshal(v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex,
		Manifests: append([]v1.Descriptor{manifest}, referrers...),
	})
	if err != nil {
		return err
	}
	mark, err := json.Marshal(v1.ImageLayout{Version: v1.ImageLayoutVersion})
	if err != nil {
		return err
	}
	if err := atomicfile.WriteFile(l.path(v1.ImageIndexFile), index, 0o644); err != nil {
		return err
	}
	if err := atomicfile.WriteFile(l.path(v1.ImageLayoutFile), mark, 0o644); err != nil {
		return err
	}
	return l.commit()
}

func sumOf(h hash.Hash) oci.Digest { return oci.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))) }

// A meter moves a step by what is written to it, and ends a copy whose
// context has ended.
type meter struct {
	ctx  context.Context
	step progress.Step
}

func (m meter) Write(p []byte) (int, error) {
	m.step.Add(int64(len(p)))
	return len(p), m.ctx.Err()
}
