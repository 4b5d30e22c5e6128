package image

import (
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/image/provenance"
	"holdfast/internal/image/sbom"
	"holdfast/internal/oci"
	"holdfast/internal/sign"
)

// annotationPredicate lets a reader of a list of referrers tell statements
// apart without fetching them.
const annotationPredicate = "in-toto.io/predicate-type"

// attach stores content as an artifact that refers to subject, and returns its
// manifest: image-spec 1.1, "Guidelines for Artifact Usage".
func (l *layout) attach(subject v1.Descriptor, mediaType string, content []byte, annotations map[string]string) (v1.Descriptor, error) {
	empty, err := l.blob(v1.MediaTypeEmptyJSON, struct{}{})
	if err != nil {
		return v1.Descriptor{}, err
	}
	d := v1.Descriptor{MediaType: mediaType, Size: int64(len(content)), Digest: digest.FromBytes(content)}
	if err := l.writeFile(content, "blobs", "sha256", d.Digest.Encoded()); err != nil {
		return v1.Descriptor{}, err
	}
	m, err := l.blob(v1.MediaTypeImageManifest, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: mediaType,
		Config: empty, Layers: []v1.Descriptor{d}, Subject: &subject, Annotations: annotations,
	})
	m.ArtifactType, m.Annotations = mediaType, annotations
	return m, err
}

// attachStatements makes what the build states of its image the image's referrers.
func (b *build) attachStatements(l *layout, manifest v1.Descriptor, p product) ([]v1.Descriptor, error) {
	p.format, p.purpose, p.digest = "oci", "CONTAINER", oci.Digest(manifest.Digest)
	s, err := b.state(p)
	if err != nil {
		return nil, err
	}
	bill, err := l.attach(manifest, sbom.MediaType, s.sbom, nil)
	if err != nil {
		return nil, err
	}
	statement, err := l.attach(manifest, provenance.MediaType, s.provenance, map[string]string{annotationPredicate: provenance.PredicateType})
	return []v1.Descriptor{bill, statement}, err
}

// subjectsOf name an image by its manifest, and by its config too: that stays
// the same when the layers are encrypted or packed otherwise.
func (b *build) subjectsOf(manifest, config v1.Descriptor) []sign.Subject {
	return []sign.Subject{
		provenance.Subject(b.Recipe.Name, oci.Digest(manifest.Digest)),
		provenance.Subject("config", oci.Digest(config.Digest)),
	}
}
