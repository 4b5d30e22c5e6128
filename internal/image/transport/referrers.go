package transport

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/oci"
)

// A Referrer is what is stated of an image and names it as its subject: a bill
// of materials, provenance, a signature.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md#image-manifest-property-descriptions
type Referrer struct {
	Digest      oci.Digest        `json:"digest"` // of its manifest
	Type        string            `json:"artifactType"`
	Size        int64             `json:"size"` // bytes of manifest, config and layers
	Annotations map[string]string `json:"annotations,omitempty"`
}

// The bounds on what a registry may say refers to an image.
const (
	maxReferrers  = 100
	maxAttachment = 64 << 20
)

// Attached gives the content of everything of that type which refers to the
// image, checked against its digests, and the image itself.
func Attached(ctx context.Context, src Ref, artifactType string, o Options) (Image, [][]byte, error) {
	o = o.withDefaults()
	img, err := open(ctx, src, o)
	if err != nil {
		return Image{}, nil, fmt.Errorf("read %s: %w", src, err)
	}
	defer img.Close()
	list, err := img.artifacts(ctx)
	if err != nil {
		return Image{}, nil, fmt.Errorf("read %s: %w", src, err)
	}
	var contents [][]byte
	for _, a := range list {
		if a.kind() != artifactType || len(a.manifest.Layers) == 0 {
			continue
		}
		raw, err := img.read(ctx, a.manifest.Layers[0], maxAttachment)
		if err != nil {
			return Image{}, nil, fmt.Errorf("read %s: referrer %s: %w", src, a.desc.Digest, err)
		}
		contents = append(contents, raw)
	}
	return describe(src, img, list), contents, nil
}

// An artifact is a manifest that refers to another.
type artifact struct {
	desc     ocispec.Descriptor
	raw      []byte
	manifest ocispec.Manifest
}

// artifacts reads what the source says refers to the image, and holds it to it.
func (img *image) artifacts(ctx context.Context) ([]artifact, error) {
	descs, err := img.source.referrers(ctx, img.desc)
	if err != nil {
		return nil, fmt.Errorf("referrers: %w", err)
	}
	if len(descs) > maxReferrers {
		return nil, fmt.Errorf("referrers: %d of them are more than %d", len(descs), maxReferrers)
	}
	var list []artifact
	for _, desc := range descs {
		a, err := img.artifact(ctx, desc)
		if err != nil {
			return nil, fmt.Errorf("referrer %s: %w", desc.Digest, err)
		}
		list = append(list, a)
	}
	return list, nil
}

func (img *image) artifact(ctx context.Context, desc ocispec.Descriptor) (artifact, error) {
	raw, err := img.source.manifest(ctx, desc)
	if err != nil {
		return artifact{}, err
	}
	if err := check(desc, raw); err != nil {
		return artifact{}, err
	}
	a := artifact{desc: ocispec.Descriptor{Digest: desc.Digest, Size: int64(len(raw))}, raw: raw}
	if err := a.parse(); err != nil {
		return artifact{}, err
	}
	a.desc.MediaType = cmp.Or(desc.MediaType, a.manifest.MediaType, ocispec.MediaTypeImageManifest)
	if s := a.manifest.Subject; s == nil || s.Digest != img.desc.Digest {
		return artifact{}, fmt.Errorf("it does not refer to %s", img.desc.Digest)
	}
	a.desc.ArtifactType, a.desc.Annotations = a.kind(), a.manifest.Annotations
	return a, nil
}

// parse reads the manifest, and holds its blobs to the bounds.
func (a *artifact) parse() error {
	if err := json.Unmarshal(a.raw, &a.manifest); err != nil {
		return err
	}
	for _, b := range a.blobs() {
		if _, err := oci.ParseDigest(string(b.Digest)); err != nil {
			return err
		}
		if b.Size < 0 || b.Size > maxAttachment {
			return fmt.Errorf("%s has %d bytes, want at most %d", b.Digest, b.Size, maxAttachment)
		}
	}
	return nil
}

// kind is its type: of an artifact without one, that of its config.
func (a artifact) kind() string {
	if a.manifest.ArtifactType != "" {
		return a.manifest.ArtifactType
	}
	return a.manifest.Config.MediaType
}

func (a artifact) blobs() []ocispec.Descriptor {
	return append([]ocispec.Descriptor{a.manifest.Config}, a.manifest.Layers...)
}

func (a artifact) referrer() Referrer {
	return Referrer{oci.Digest(a.desc.Digest), a.kind(), int64(len(a.raw)) + sum(unique(a.blobs())), a.manifest.Annotations}
}

func referrers(list []artifact) []Referrer {
	var all []Referrer
	for _, a := range list {
		all = append(all, a.referrer())
	}
	return all
}

// about is the artifact with another subject: the image that was made of the
// one it spoke of.
func (a artifact) about(subject ocispec.Descriptor) (artifact, error) {
	a.manifest.Subject = &ocispec.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}
	raw, err := json.Marshal(a.manifest)
	if err != nil {
		return a, err
	}
	a.raw, a.desc.Digest, a.desc.Size = raw, digest.Digest(oci.SHA256(raw)), int64(len(raw))
	return a, nil
}

// referrers asks the registry's API, and reads the tag that stands for it
// where there is none.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers
func (r *remoteSource) referrers(ctx context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	index, err := remote.Referrers(r.ref.Context().Digest(string(subject.Digest)), append(r.options, remote.WithContext(ctx))...)
	if err != nil {
		return nil, explain(err)
	}
	raw, err := index.RawManifest()
	if err != nil {
		return nil, explain(err)
	}
	var listed ocispec.Index
	err = json.Unmarshal(raw, &listed)
	return listed.Manifests, err
}

// attach pushes the manifest; the client library keeps the tag where the
// registry has no API.
func (r *remoteTarget) attach(ctx context.Context, a artifact) error {
	return explain(r.pusher.Put(ctx, r.ref.Context().Digest(string(a.desc.Digest)), document{a.raw, ocispecType(a.desc)}))
}

// listed has nothing to do: a registry lists what was pushed.
func (*remoteTarget) listed(context.Context) error { return nil }

// olaregSubject marks the lists of referrers in the layouts that the registry
// here keeps.
const olaregSubject = "org.olareg.referrer.subject"

// referrers looks through the layout's index: at manifests, and at the lists
// that registries and other tools keep there.
func (l *layout) referrers(ctx context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	candidates := l.index.Manifests
	for _, desc := range l.index.Manifests {
		if isIndex(desc.MediaType) && listsReferrers(desc, subject.Digest) {
			raw, err := l.manifest(ctx, desc)
			if err != nil {
				return nil, err
			}
			var list ocispec.Index
			if err := json.Unmarshal(raw, &list); err != nil {
				return nil, fmt.Errorf("%s: %w", desc.Digest, err)
			}
			candidates = append(candidates[:len(candidates):len(candidates)], list.Manifests...)
		}
	}
	var found []ocispec.Descriptor
	for _, desc := range unique(candidates) {
		if desc.MediaType == ocispec.MediaTypeImageManifest && desc.Digest != subject.Digest && l.subject(ctx, desc) == subject.Digest {
			found = append(found, desc)
		}
	}
	return found, nil
}

func listsReferrers(desc ocispec.Descriptor, subject digest.Digest) bool {
	fallback := strings.Replace(string(subject), ":", "-", 1) // the distribution spec's tag schema
	return desc.Annotations[olaregSubject] == string(subject) || desc.Annotations[ocispec.AnnotationRefName] == fallback
}

// subject is what the manifest refers to, if it can be read and does.
func (l *layout) subject(ctx context.Context, desc ocispec.Descriptor) digest.Digest {
	var m ocispec.Manifest
	raw, err := l.manifest(ctx, desc)
	if err != nil || json.Unmarshal(raw, &m) != nil || m.Subject == nil {
		return ""
	}
	return m.Subject.Digest
}

// subjectOf is subject, of entries that are no images.
func (l *layout) subjectOf(ctx context.Context, desc ocispec.Descriptor) digest.Digest {
	if isImage(desc) || isIndex(desc.MediaType) {
		return ""
	}
	return l.subject(ctx, desc)
}

// isImage says whether an entry of a layout's index can be what a reference
// without a name means.
func isImage(desc ocispec.Descriptor) bool {
	return isImageType(desc.ArtifactType) && desc.Annotations[olaregSubject] == "" &&
		!strings.HasPrefix(desc.Annotations[ocispec.AnnotationRefName], "sha256-")
}

// attach lists the manifest in the layout's index, without a name.
func (l *layoutWriter) attach(_ context.Context, a artifact) error {
	if err := l.store(a.desc, a.raw); err != nil {
		return err
	}
	l.attached = append(l.attached, a.desc)
	return nil
}

func (l *layoutWriter) listed(ctx context.Context) error {
	index, err := readIndex(l.ref.Path)
	if err != nil {
		return err
	}
	for _, a := range l.attached {
		same := func(d ocispec.Descriptor) bool { return d.Digest == a.Digest }
		if !slices.ContainsFunc(index.Manifests, same) {
			index.Manifests = append(index.Manifests, a)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return writeJSON(filepath.Join(l.ref.Path, ocispec.ImageIndexFile), index)
}

// isImageType tells the types of images: go-containerregistry, and thus crane,
// writes that of the config where there is no other.
func isImageType(artifactType string) bool {
	return artifactType == "" || artifactType == ocispec.MediaTypeImageConfig || artifactType == dockerConfig
}
