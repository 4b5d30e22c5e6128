package registry

import (
	"encoding/json"
	"net/http"
	"strings"

	"holdfast/internal/oci"
	"holdfast/internal/registry/index"
)

// The types of manifest that the registry takes: those of OCI's image spec
// 1.1, and docker's that came before.
const (
	ociImage    = "application/vnd.oci.image.manifest.v1+json"
	ociIndex    = "application/vnd.oci.image.index.v1+json"
	dockerImage = "application/vnd.docker.distribution.manifest.v2+json"
	dockerIndex = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// A document is what the registry reads of a manifest.
type document struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *descriptor       `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Manifests     []descriptor      `json:"manifests"`
	Subject       *descriptor       `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

type descriptor struct {
	MediaType string     `json:"mediaType"`
	Digest    oci.Digest `json:"digest"`
	Size      int64      `json:"size"`
	URLs      []string   `json:"urls"`
}

func manifestInvalid(format string, args ...any) *problem {
	return fail(http.StatusBadRequest, "MANIFEST_INVALID", format, args...)
}

func isIndexType(t string) bool { return t == ociIndex || t == dockerIndex }

// parseDocument reads a manifest that was sent as contentType.
func parseDocument(contentType string, body []byte) (*document, error) {
	contentType, _, _ = strings.Cut(contentType, ";")
	contentType = strings.ToLower(strings.TrimSpace(contentType))
	var m document
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, manifestInvalid("manifest is no JSON of an image or index: %.200s", err)
	}
	if contentType == "" {
		contentType = m.guess()
	}
	switch {
	case contentType != ociImage && contentType != ociIndex && contentType != dockerImage && contentType != dockerIndex:
		return nil, manifestInvalid("manifest type %.80q is not supported", contentType)
	case m.MediaType != "" && m.MediaType != contentType:
		return nil, manifestInvalid("manifest says that it is %.80q and was sent as %q", m.MediaType, contentType)
	case m.SchemaVersion != 2 && m.SchemaVersion != 0: // which some tools leave out
		return nil, manifestInvalid("manifest has schemaVersion %d, want 2", m.SchemaVersion)
	}
	m.MediaType = contentType
	return &m, m.check()
}

func (m *document) guess() string {
	if m.MediaType == "" && m.Manifests != nil {
		return ociIndex
	}
	if m.MediaType == "" {
		return ociImage
	}
	return m.MediaType
}

// check refuses documents that are an image to one client and an index to
// another, and descriptors that name nothing.
func (m *document) check() error {
	if isIndexType(m.MediaType) && (m.Layers != nil || m.Config != nil) {
		return manifestInvalid("index has layers or a config")
	}
	if !isIndexType(m.MediaType) && (m.Manifests != nil || m.Config == nil) {
		return manifestInvalid("image manifest has manifests or no config")
	}
	all := append(m.named(), m.foreign()...)
	if m.Subject != nil {
		all = append(all, *m.Subject)
	}
	for _, d := range all {
		if _, err := oci.ParseDigest(string(d.Digest)); err != nil {
			return manifestInvalid("descriptor: %v", err)
		}
		if d.Size < 0 {
			return manifestInvalid("descriptor %s has size %d", d.Digest, d.Size)
		}
	}
	return nil
}

func (m *document) every() []descriptor {
	all := append(append([]descriptor{}, m.Layers...), m.Manifests...)
	if m.Config != nil {
		all = append(all, *m.Config)
	}
	return all
}

// isForeign says whether a blob need not be in the registry.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#non-distributable-layers
func (d descriptor) isForeign() bool {
	return len(d.URLs) > 0 || strings.Contains(d.MediaType, ".nondistributable.") || strings.Contains(d.MediaType, ".rootfs.foreign.")
}

// named are the blobs and manifests that must be there before this one.
func (m *document) named() (list []descriptor) {
	for _, d := range m.every() {
		if !d.isForeign() {
			list = append(list, d)
		}
	}
	return list
}

func (m *document) foreign() (list []descriptor) {
	for _, d := range m.every() {
		if d.isForeign() {
			list = append(list, d)
		}
	}
	return list
}

// entry is how the index keeps the manifest, and lists it as a referrer.
func (m *document) entry(d oci.Digest, size int64) index.Entry {
	e := index.Entry{MediaType: m.MediaType, Digest: d, Size: size, ArtifactType: m.ArtifactType}
	if e.ArtifactType == "" && m.Config != nil && m.Subject != nil {
		e.ArtifactType = m.Config.MediaType
	}
	if m.Subject != nil {
		e.Subject, e.Annotations = m.Subject.Digest, m.Annotations
	}
	return e
}
