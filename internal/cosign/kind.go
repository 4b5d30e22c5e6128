package cosign

import (
	"context"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/input"
)

// imageConfigs are the configs of what runtimes run.
var imageConfigs = []string{v1.MediaTypeImageConfig, "application/vnd.docker.container.image.v1+json"}

// IsStatement says whether a manifest is what is stated of an image, as a
// signature or a bill of materials is, and nothing that could be run. Such may
// come and go with any image: a policy is about what runs.
func IsStatement(ctx context.Context, in Repository, mediaType string, manifest []byte) bool {
	var m v1.Manifest
	if input.JSON(manifest, &m) != nil || len(m.Layers) == 0 {
		return false
	}
	return isAttached(mediaType, m) || isSimple(ctx, in, m)
}

// isAttached tells what refers to an image and has the form of no image. Of
// docker's manifests runtimes read neither the subject nor the config's type.
func isAttached(mediaType string, m v1.Manifest) bool {
	return mediaType == v1.MediaTypeImageManifest && m.Subject != nil &&
		!slices.Contains(imageConfigs, m.Config.MediaType) &&
		!slices.ContainsFunc(m.Layers, func(d v1.Descriptor) bool { return isRun(d.MediaType) })
}

// isRun knows the types of what runtimes unpack or run, by words in them.
func isRun(mediaType string) bool {
	mediaType = strings.ToLower(mediaType)
	return slices.ContainsFunc([]string{"tar", "layer", "wasm"}, func(word string) bool { return strings.Contains(mediaType, word) })
}

// isSimple tells signatures in the older form, which has the config of an
// image, and no subject. Its payloads are read: to some runtimes a layer is
// one whatever its type says.
func isSimple(ctx context.Context, in Repository, m v1.Manifest) bool {
	if len(m.Layers) > maxLayers || slices.ContainsFunc(m.Layers, func(d v1.Descriptor) bool { return d.MediaType != SimpleType }) {
		return false
	}
	for _, layer := range m.Layers {
		payload, err := blob(ctx, in, layer)
		if err != nil {
			return false
		}
		if _, err := ParseSimple(payload, layer.Annotations[signatureAnnotation]); err != nil {
			return false
		}
	}
	return true
}
