package cosign

import (
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
func IsStatement(manifest []byte) bool {
	var m v1.Manifest
	if input.JSON(manifest, &m) != nil || len(m.Layers) == 0 {
		return false
	}
	if !slices.ContainsFunc(m.Layers, func(d v1.Descriptor) bool { return d.MediaType != SimpleType }) {
		return true // the older form has the config of an image, and no subject
	}
	if m.Subject == nil || slices.Contains(imageConfigs, m.Config.MediaType) {
		return false
	}
	return !slices.ContainsFunc(m.Layers, func(d v1.Descriptor) bool { return strings.Contains(d.MediaType, "tar") })
}
