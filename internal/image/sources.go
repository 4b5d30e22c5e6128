package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// A goPackage is what "go list" tells of the files of one.
type goPackage struct {
	Dir        string
	Standard   bool
	GoFiles    []string
	SFiles     []string
	HFiles     []string
	SysoFiles  []string
	EmbedFiles []string
}

// sources are the files below the module's folder that package pkg is
// compiled from, with those that say which other modules it needs.
func (c compiler) sources(ctx context.Context, module, pkg string) ([]string, error) {
	out, err := c.run(ctx, module, "list", "-deps", "-json=Dir,Standard,GoFiles,SFiles,HFiles,SysoFiles,EmbedFiles", pkg)
	if err != nil {
		return nil, err
	}
	files := existing(filepath.Join(module, "go.mod"), filepath.Join(module, "go.sum"), filepath.Join(module, "vendor", "modules.txt"))
	list := json.NewDecoder(strings.NewReader(out))
	for {
		var p goPackage
		if err := list.Decode(&p); errors.Is(err, io.EOF) {
			return files, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		if local, err := filepath.Rel(module, p.Dir); p.Standard || err != nil || !filepath.IsLocal(local) {
			continue
		}
		files = append(files, p.files()...)
	}
}

func (p goPackage) files() []string {
	var paths []string
	for _, list := range [][]string{p.GoFiles, p.SFiles, p.HFiles, p.SysoFiles, p.EmbedFiles} {
		for _, name := range list {
			paths = append(paths, filepath.Join(p.Dir, name))
		}
	}
	return paths
}

func existing(paths ...string) []string {
	var there []string
	for _, p := range paths {
		if _, err := os.Stat(p); err == nil {
			there = append(there, p)
		}
	}
	return there
}
