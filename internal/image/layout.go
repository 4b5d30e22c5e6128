package image

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"hash"
	"os"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/oci"
	"holdfast/internal/progress"
)

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

// blob stores v as JSON.
func (l *layout) blob(mediaType string, v any) (v1.Descriptor, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return v1.Descriptor{}, err
	}
	d := v1.Descriptor{MediaType: mediaType, Size: int64(len(raw)), Digest: digest.FromBytes(raw)}
	return d, l.writeFile(raw, "blobs", "sha256", d.Digest.Encoded())
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
	if err := l.writeFile(index, v1.ImageIndexFile); err != nil {
		return err
	}
	if err := l.writeFile(mark, v1.ImageLayoutFile); err != nil {
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
