package transport

import (
	"bytes"
	"context"
	"io"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/oci"
	"holdfast/internal/progress"
)

// A memory is a source of blobs that were made here. It holds no image.
type memory struct {
	source // none: nothing else of it is asked
	blobs  map[digest.Digest][]byte
}

func newMemory() memory { return memory{blobs: map[digest.Digest][]byte{}} }

func (m memory) add(mediaType string, content []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.Digest(oci.SHA256(content)), Size: int64(len(content))}
	m.blobs[d.Digest] = content
	return d
}

// out is one of the blobs on its way.
func (m memory) out(desc ocispec.Descriptor) blob { return small(desc, &image{source: m}) }

// small is a blob whose progress nobody watches.
func small(desc ocispec.Descriptor, from *image) blob {
	return blob{desc, from, new(atomic.Int64), progress.Or(nil).Start("", desc.Size, progress.Bytes)}
}

func (m memory) blob(_ context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	content, ok := m.blobs[desc.Digest]
	if !ok || offset > int64(len(content)) {
		return nil, ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(content[offset:])), nil
}
