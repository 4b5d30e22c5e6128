package transport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/input"
	"holdfast/internal/oci"
)

// Documents are read whole, so their size has a limit.
const (
	maxManifest = 4 << 20 // the distribution spec's
	maxConfig   = 8 << 20
)

// The media types of Docker's own formats, which registries and archives
// still hold. https://distribution.github.io/distribution/spec/manifest-v2-2/
const (
	dockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
	dockerLayer    = "application/vnd.docker.image.rootfs.diff.tar"
	dockerForeign  = "application/vnd.docker.image.rootfs.foreign.diff.tar"
)

// A source is where an image is read. Nothing it gives is trusted.
type source interface {
	// root is what the reference names, a manifest or an index.
	root(ctx context.Context) (ocispec.Descriptor, []byte, error)
	// tagged is what a tag beside the reference names; ErrNotFound without one.
	tagged(ctx context.Context, tag string) (ocispec.Descriptor, []byte, error)
	// manifest reads what a root index lists.
	manifest(ctx context.Context, desc ocispec.Descriptor) ([]byte, error)
	// blob reads a blob from offset on.
	blob(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error)
	// referrers lists what says that it refers to the manifest.
	referrers(ctx context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error)
	io.Closer
}

// An image is one manifest for Linux, with its config, both checked.
type image struct {
	source
	desc     ocispec.Descriptor
	raw      []byte
	manifest ocispec.Manifest
	config   ocispec.Image
}

// open reads what describes the image; layers wait.
func open(ctx context.Context, ref Ref, o Options) (*image, error) {
	src, err := openSource(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	img, err := load(ctx, src, o.Architecture)
	if err != nil {
		return nil, errors.Join(err, src.Close())
	}
	return img, nil
}

func openSource(ctx context.Context, ref Ref, o Options) (source, error) {
	switch ref.Kind {
	case Layout:
		return openLayout(ref)
	case Archive:
		return openArchive(ctx, ref, o)
	}
	return openRemote(ref, o)
}

func load(ctx context.Context, src source, architecture string) (*image, error) {
	desc, raw, err := src.root(ctx)
	if err != nil {
		return nil, err
	}
	for depth := 0; isIndex(desc.MediaType); depth++ {
		if depth == 3 {
			return nil, errors.New("indexes nested too deep")
		}
		if desc, raw, err = descend(ctx, src, raw, architecture); err != nil {
			return nil, err
		}
	}
	img := &image{source: src, desc: desc, raw: raw}
	if err := img.parseManifest(); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	return img, img.loadConfig(ctx, architecture)
}

func isIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == dockerIndex
}

// descend reads the manifest for the architecture that an index lists.
func descend(ctx context.Context, src source, raw []byte, architecture string) (ocispec.Descriptor, []byte, error) {
	var index ocispec.Index
	if err := input.JSON(raw, &index); err != nil {
		return ocispec.Descriptor{}, nil, fmt.Errorf("index: %w", err)
	}
	desc, err := choose(index.Manifests, cmp.Or(architecture, "amd64"))
	if err != nil {
		return desc, nil, err
	}
	raw, err = src.manifest(ctx, desc)
	if err != nil {
		return desc, nil, fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	return desc, raw, check(desc, raw)
}

// variants are the least that each architecture has: any machine runs them.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md#platform-variants
var variants = map[string]string{"amd64": "v1", "arm64": "v8"}

// choose takes the entry for Linux on the architecture; a plain one before a variant.
func choose(entries []ocispec.Descriptor, architecture string) (ocispec.Descriptor, error) {
	var found []string
	for _, variant := range []string{"", variants[architecture]} {
		for _, entry := range entries {
			p := entry.Platform
			if p == nil {
				continue
			}
			if p.OS == "linux" && p.Architecture == architecture && p.Variant == variant {
				return entry, nil
			}
			if variant == "" && p.OS != "unknown" {
				found = append(found, strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/"))
			}
		}
	}
	if len(found) == 0 {
		return ocispec.Descriptor{}, fmt.Errorf("%w for linux/%s: its index names no platform", ErrPlatform, architecture)
	}
	return ocispec.Descriptor{}, fmt.Errorf("%w for linux/%s: there is %s", ErrPlatform, architecture, strings.Join(found, ", "))
}

func (img *image) parseManifest() error {
	m := &img.manifest
	if !utf8.Valid(img.raw) { // RFC 8259, 8.1; the decoder would make other bytes of it
		return errors.New("is not UTF-8")
	}
	if err := input.JSON(img.raw, m); err != nil {
		return err
	}
	if m.SchemaVersion != 2 || img.desc.MediaType != ocispec.MediaTypeImageManifest && img.desc.MediaType != dockerManifest {
		return fmt.Errorf("type is %.80q, want an OCI or Docker v2 image", img.desc.MediaType)
	}
	// A document that could be read as two types is none.
	// https://github.com/opencontainers/image-spec/security/advisories/GHSA-77vh-xpmg-72qh
	if m.MediaType != "" && m.MediaType != img.desc.MediaType {
		return fmt.Errorf("was sent as %.80q and calls itself %.80q", img.desc.MediaType, m.MediaType)
	}
	if t := m.Config.MediaType; t != ocispec.MediaTypeImageConfig && t != dockerConfig {
		return fmt.Errorf("not a container image: its config is %.80q", t)
	}
	for _, desc := range img.blobs() {
		if _, err := oci.ParseDigest(string(desc.Digest)); err != nil {
			return err
		}
		if desc.Size < 0 {
			return fmt.Errorf("%s has size %d", desc.Digest, desc.Size)
		}
	}
	return nil
}

// loadConfig judges the platform by the config too: a lone manifest names it
// nowhere else.
func (img *image) loadConfig(ctx context.Context, architecture string) error {
	desc := img.manifest.Config
	raw, err := img.read(ctx, desc, maxConfig)
	if err != nil {
		return fmt.Errorf("config %s: %w", desc.Digest, err)
	}
	if err := input.JSON(raw, &img.config); err != nil {
		return fmt.Errorf("config %s: %w", desc.Digest, err)
	}
	if c := img.config; c.OS != "linux" || c.Architecture == "" || c.Architecture != cmp.Or(architecture, c.Architecture) {
		return fmt.Errorf("%w for linux/%s: this one is %s/%s", ErrPlatform, cmp.Or(architecture, "amd64"), c.OS, c.Architecture)
	}
	return nil
}

// blobs are the config and the layers, in this order.
func (img *image) blobs() []ocispec.Descriptor {
	return append([]ocispec.Descriptor{img.manifest.Config}, img.manifest.Layers...)
}

// open streams a blob; its end is an error unless the bytes match.
func (img *image) open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	r, err := img.source.blob(ctx, desc, 0)
	if err != nil {
		return nil, err
	}
	return verify(r, desc), nil
}

func (img *image) read(ctx context.Context, desc ocispec.Descriptor, limit int64) ([]byte, error) {
	if desc.Size > limit {
		return nil, fmt.Errorf("%d bytes are more than %d", desc.Size, limit)
	}
	r, err := img.open(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
