package transport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/cosign"
	"holdfast/internal/oci"
)

// A Subject is what a reference names, an image or an index of images: what
// signatures are of.
type Subject struct {
	Reference string     `json:"reference"`
	Digest    oci.Digest `json:"digest"`
	MediaType string     `json:"mediaType"`
	Size      int64      `json:"size"` // of the manifest
}

// Resolve says what a reference names.
func Resolve(ctx context.Context, ref Ref, o Options) (Subject, error) {
	src, err := openSource(ctx, ref, o.withDefaults())
	if err != nil {
		return Subject{}, fmt.Errorf("read %s: %w", ref, err)
	}
	defer src.Close()
	return resolve(ctx, ref, src)
}

func resolve(ctx context.Context, ref Ref, src source) (Subject, error) {
	desc, raw, err := src.root(ctx)
	if err != nil {
		return Subject{}, fmt.Errorf("read %s: %w", ref, err)
	}
	return Subject{ref.String(), oci.Digest(desc.Digest), desc.MediaType, int64(len(raw))}, nil
}

// InRepository has do look around where the reference is, for what concerns
// that which it names.
func InRepository(ctx context.Context, ref Ref, o Options, do func(Subject, cosign.Repository) error) (Subject, error) {
	src, err := openSource(ctx, ref, o.withDefaults())
	if err != nil {
		return Subject{}, fmt.Errorf("read %s: %w", ref, err)
	}
	defer src.Close()
	s, err := resolve(ctx, ref, src)
	if err != nil {
		return s, err
	}
	return s, do(s, repository{src})
}

// A repository is a source, for who looks for signatures in it.
type repository struct{ source }

func (r repository) Tag(ctx context.Context, tag string) ([]byte, error) {
	_, raw, err := r.tagged(ctx, tag)
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("%w: %w", cosign.ErrNoTag, err)
	}
	return raw, err
}

func (r repository) Referrers(ctx context.Context, image oci.Digest) ([]ocispec.Descriptor, error) {
	return r.referrers(ctx, ocispec.Descriptor{Digest: digest.Digest(image)})
}

func (r repository) Manifest(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	if _, err := oci.ParseDigest(string(d.Digest)); err != nil {
		return nil, err
	}
	raw, err := r.manifest(ctx, d)
	if err != nil {
		return nil, err
	}
	return raw, check(d, raw)
}

func (r repository) Blob(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	return (&image{source: r.source}).read(ctx, d, maxAttachment)
}

func (r *remoteSource) tagged(ctx context.Context, tag string) (ocispec.Descriptor, []byte, error) {
	return r.get(ctx, r.ref.Context().Tag(tag))
}

func (l *layout) tagged(ctx context.Context, tag string) (ocispec.Descriptor, []byte, error) {
	for _, desc := range l.index.Manifests {
		if desc.Annotations[ocispec.AnnotationRefName] == tag {
			raw, err := l.manifest(ctx, desc)
			if err != nil {
				return desc, nil, err
			}
			return desc, raw, check(desc, raw)
		}
	}
	return ocispec.Descriptor{}, nil, ErrNotFound
}

// An Attachment is to be stored beside an image.
type Attachment struct {
	Type        string // of the artifact, and of its one layer
	Content     []byte
	Annotations map[string]string
}

// Attach stores an artifact that refers to the subject in the place where ref
// is. What is there already is the same artifact.
func Attach(ctx context.Context, ref Ref, s Subject, with Attachment, o Options) (Referrer, error) {
	a, content, err := newArtifact(s, with)
	if err != nil {
		return Referrer{}, err
	}
	if err := attach(ctx, ref, a, content, o.withDefaults()); err != nil {
		return Referrer{}, fmt.Errorf("attach to %s: %w", ref, err)
	}
	return a.referrer(), nil
}

func attach(ctx context.Context, ref Ref, a artifact, content memory, o Options) error {
	if ref.Kind == Archive {
		return errors.New("archives can be read, not written")
	}
	to, err := openTarget(ctx, ref, o)
	if err != nil {
		return err
	}
	defer to.Close()
	for _, desc := range a.blobs() {
		if err := to.put(ctx, content.out(desc)); err != nil {
			return fmt.Errorf("%s: %w", desc.Digest, err)
		}
	}
	if err := to.attach(ctx, a); err != nil {
		return err
	}
	return to.listed(ctx)
}

// newArtifact is the manifest, and the blobs that it names.
func newArtifact(s Subject, with Attachment) (artifact, memory, error) {
	content := newMemory()
	config := content.add(ocispec.MediaTypeEmptyJSON, ocispec.DescriptorEmptyJSON.Data)
	a := artifact{manifest: ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: with.Type, Config: config, Layers: []ocispec.Descriptor{content.add(with.Type, with.Content)},
		Subject:     &ocispec.Descriptor{MediaType: s.MediaType, Digest: digest.Digest(s.Digest), Size: s.Size},
		Annotations: with.Annotations,
	}}
	var err error
	if a.raw, err = json.Marshal(a.manifest); err != nil {
		return a, content, err
	}
	a.desc = ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest, Digest: digest.Digest(oci.SHA256(a.raw)), Size: int64(len(a.raw)),
		ArtifactType: with.Type, Annotations: with.Annotations,
	}
	return a, content, nil
}
