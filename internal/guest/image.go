package guest

import (
	"context"
	"fmt"
	"runtime"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/input"
	"holdfast/internal/oci"
)

// Docker's names for what OCI took over.
const (
	dockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
)

// maxLayers bounds how often one image makes the guest unpack.
const maxLayers = 256

// An image is a verified manifest and config.
type image struct {
	digest   oci.Digest // that the configuration pins
	manifest v1.Manifest
	config   v1.Image
}

// image fetches the manifest that the registry was pinned to, by way of an
// index where it is one, and the config.
func (r *registry) image(ctx context.Context) (*image, error) {
	raw, err := r.document(ctx, "manifests", r.digest, v1.MediaTypeImageManifest, v1.MediaTypeImageIndex, dockerManifest, dockerIndex)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if d, isIndex, err := choose(raw); err != nil {
		return nil, err
	} else if isIndex {
		if raw, err = r.document(ctx, "manifests", d, v1.MediaTypeImageManifest, dockerManifest); err != nil {
			return nil, fmt.Errorf("manifest of linux/%s: %w", runtime.GOARCH, err)
		}
	}
	i := &image{digest: r.digest}
	if err := input.JSON(raw, &i.manifest); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if n := len(i.manifest.Layers); n == 0 || n > maxLayers {
		return nil, fmt.Errorf("manifest has %d layers, want 1 to %d", n, maxLayers)
	}
	return i, r.config(ctx, i)
}

func (r *registry) config(ctx context.Context, i *image) error {
	d, err := checkDigest(i.manifest.Config)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	raw, err := r.document(ctx, "blobs", d)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if err := input.JSON(raw, &i.config); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if i.config.OS != "linux" || i.config.Architecture != runtime.GOARCH {
		return fmt.Errorf("image is for %s/%s, this machine is linux/%s", i.config.OS, i.config.Architecture, runtime.GOARCH)
	}
	return nil
}

// choose finds this machine's manifest when the document is an index.
func choose(raw []byte) (d oci.Digest, isIndex bool, err error) {
	var index v1.Index
	if err := input.JSON(raw, &index); err != nil {
		return "", false, fmt.Errorf("manifest: %w", err)
	}
	if index.MediaType != v1.MediaTypeImageIndex && index.MediaType != dockerIndex && len(index.Manifests) == 0 {
		return "", false, nil
	}
	for _, m := range index.Manifests {
		if m.Platform != nil && m.Platform.OS == "linux" && m.Platform.Architecture == runtime.GOARCH {
			d, err := checkDigest(m)
			return d, true, err
		}
	}
	return "", true, fmt.Errorf("the index has no manifest for linux/%s", runtime.GOARCH)
}

func checkDigest(d v1.Descriptor) (oci.Digest, error) {
	digest, err := oci.ParseDigest(string(d.Digest))
	if err == nil && digest.Algorithm() != "sha256" {
		err = fmt.Errorf("digest %.80q: want sha256", digest)
	}
	return digest, err
}
