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
	ImportPath string
	BuildID    string
	Dir        string
	Standard   bool
	GoFiles    []string
	SFiles     []string
	HFiles     []string
	SysoFiles  []string
	EmbedFiles []string
}

// inputs are what a program is made of.
type inputs struct {
	sources  []string // files below the module's folder, absolute
	identity []string // what decides its bytes
}

// inputs finds the files below the module's folder that package pkg is
// compiled from, with those that say which other modules it needs. With
// identity, it has every package compiled, and takes Go's own hashes of all
// that went into each: https://pkg.go.dev/cmd/go, "build ID". What go adds when
// it links is in its version, in its settings, and in go.mod and go.sum.
func (c compiler) inputs(ctx context.Context, module, pkg string, identity bool) (*inputs, error) {
	args := []string{"list", "-deps", "-json=ImportPath,BuildID,Dir,Standard,GoFiles,SFiles,HFiles,SysoFiles,EmbedFiles"}
	if identity {
		args = append(args, "-export", "-buildvcs=false")
	}
	out, err := c.Run(ctx, module, append(args, pkg)...)
	if err != nil {
		return nil, err
	}
	in := &inputs{sources: existing(filepath.Join(module, "go.mod"), filepath.Join(module, "go.sum"), filepath.Join(module, "vendor", "modules.txt"))}
	if identity {
		if err := in.identify(append(c.Settings(), c.version, linkFlags, pkg)); err != nil {
			return nil, err
		}
	}
	list := json.NewDecoder(strings.NewReader(out))
	for {
		var p goPackage
		if err := list.Decode(&p); errors.Is(err, io.EOF) {
			return in, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		in.identity = append(in.identity, p.ImportPath, p.BuildID)
		if local, err := filepath.Rel(module, p.Dir); p.Standard || err != nil || !filepath.IsLocal(local) {
			continue
		}
		in.sources = append(in.sources, p.files()...)
	}
}

// identify begins the identity with settings, and with the files that sources
// begin with.
func (in *inputs) identify(settings []string) error {
	in.identity = settings
	for _, path := range in.sources {
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		in.identity = append(in.identity, filepath.Base(path), string(raw))
	}
	return nil
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
