package platform

import (
	"context"
	"path/filepath"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/spec"
	"holdfast/internal/input"
)

// file reads a file that is there already: for tests, and for images that carry
// their config.
func file(_ context.Context, c Config, _ ignition.Ask) (ignition.Provided, error) {
	if c.File == "" {
		c.File = "config.ign"
	}
	raw, err := input.ReadFile(c.File, spec.MaxSize)
	if err != nil {
		return ignition.Provided{}, err
	}
	folder, err := filepath.Abs(filepath.Dir(c.File))
	return ignition.Provided{Raw: raw, Origin: &ignition.Origin{Folder: folder}}, err
}
