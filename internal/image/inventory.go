package image

import (
	"archive/tar"
	"bytes"
	"debug/buildinfo"
	"fmt"
	"io"
	"path/filepath"

	"holdfast/internal/deb"
	"holdfast/internal/image/recipe"
	"holdfast/internal/image/sbom"
	"holdfast/internal/image/tree"
)

// An inventory is what a build found its inputs to be, for the bill of
// materials: what packages and programs say of themselves.
type inventory struct {
	packages []sbom.Package
	programs []sbom.Program
	sources  []string // Go files of this module, absolute
}

// join adds what was found beside.
func (i *inventory) join(more inventory) {
	i.packages = append(i.packages, more.packages...)
	i.programs = append(i.programs, more.programs...)
	i.sources = append(i.sources, more.sources...)
}

// maxCopyright is far above the longest debian/copyright.
const maxCopyright = 4 << 20

// A reading notes what one package says of itself while it is unpacked.
type reading struct{ sbom.Package }

// control holds the package's own words to the lock's: a file that is another
// package than the lock names would make every list of it wrong.
func (r *reading) control(c deb.Paragraph) error {
	r.Control = c
	for _, field := range []struct{ name, want string }{
		{"Package", r.Pin.Name}, {"Version", r.Pin.Version}, {"Architecture", r.Pin.Architecture},
	} {
		if got := c.Get(field.name); got != field.want {
			return fmt.Errorf("its %s is %.80q, the lock says %q", field.name, got, field.want)
		}
	}
	return nil
}

// file reads the licence on its way, whether or not the recipe keeps the file.
func (r *reading) file(h *tar.Header, content io.Reader) (io.Reader, error) {
	if h.Name != "usr/share/doc/"+r.Pin.Name+"/copyright" || h.Typeflag != tar.TypeReg || h.Size > maxCopyright {
		return content, nil
	}
	raw, err := io.ReadAll(content)
	r.Licence = sbom.Licence(raw)
	return bytes.NewReader(raw), err
}

// noteProgram reads what Go wrote into a program.
func (b *build) noteProgram(path string, c tree.Content) error {
	info, err := buildinfo.Read(c.Open())
	if err != nil {
		return fmt.Errorf("program /%s: %w", path, err)
	}
	sums, err := sbom.Sum(c.Open())
	b.inventory.programs = append(b.inventory.programs, sbom.Program{Path: path, Sums: sums, Info: info})
	return err
}

// files are those of the recipe itself: regular files of the last layer that
// are no programs.
func (b *build) files(t *tree.Tree) ([]sbom.File, error) {
	program := map[string]bool{}
	for _, p := range b.inventory.programs {
		program[p.Path] = true
	}
	var list []sbom.File
	err := t.LayerFiles(t.Layers()-1, func(path string, c tree.Content) error {
		if program[path] {
			return nil
		}
		sums, err := sbom.Sum(c.Open())
		list = append(list, sbom.File{Path: path, Sums: sums})
		return err
	})
	return list, err
}

// base is the folder that all local files of the build are below.
func (b *build) base() (string, error) {
	for _, module := range b.Recipe.Modules() {
		if recipe.IsLocal(module) {
			return moduleRoot(b.Recipe.Dir())
		}
	}
	return filepath.Abs(b.Recipe.Dir())
}
