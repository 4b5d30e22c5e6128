package wiring

import (
	"path/filepath"

	"holdfast/internal/ignition/butane"
	"holdfast/internal/ignition/spec"
)

// ReadNodeConfig reads an Ignition or Butane config. Files that Butane names
// are those below files.
func ReadNodeConfig(name string, raw []byte, files string) (*spec.Document, error) {
	return nodeLoader(files).Load(name, raw)
}

func nodeLoader(files string) spec.Loader {
	if files != "" {
		files = filepath.Clean(files)
	}
	return spec.Loader{Butane: butane.Config{Files: files}.Translate}
}
