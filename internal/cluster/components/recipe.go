package components

import (
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"holdfast/internal/blob/derived"
)

// A recipe is how a module is built now.
type recipe struct {
	module
	dir     string // of the module
	version string // of upstream
	flags   []string
	digest  string // names all that decides the bytes
}

func (r *recipe) title() string { return r.name + " " + r.version }

// recipe reads what a module is built from.
func (b *builder) recipe(m module) (*recipe, error) {
	r := &recipe{module: m, dir: filepath.Join(b.Source, m.dir)}
	files, err := sources(r.dir)
	if err != nil {
		return nil, err
	}
	if m.inside {
		if err := addModule(files, filepath.Join(b.Source, "..")); err != nil {
			return nil, err
		}
	}
	if r.version = required(files["go.mod"], m.upstream); r.version == "" {
		return nil, fmt.Errorf("%s requires no %s", filepath.Join(r.dir, "go.mod"), m.upstream)
	}
	r.flags = []string{"-trimpath", "-tags", strings.Join(m.tags, ","), "-ldflags", m.linkFlags(r.version)}
	inputs := slices.Concat([]string{b.version}, b.golang.Settings(), r.flags, m.packages, m.tests)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		inputs = append(inputs, name, files[name])
	}
	key := derived.KeyOf("cluster program 1", inputs...)
	r.digest = hex.EncodeToString(key[:8])
	return r, nil
}

// addModule adds what a module of ours in dir may give to another.
func addModule(files map[string]string, dir string) error {
	all, err := sources(filepath.Join(dir, "internal"))
	if err != nil {
		return err
	}
	for name, content := range all {
		files[filepath.Join("..", "internal", name)] = content
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		files[filepath.Join("..", name)] = string(content)
	}
	return nil
}

func (m module) linkFlags(version string) string {
	flags := "-s -w -buildid="
	if m.stamp == nil {
		return flags
	}
	vars := m.stamp(version)
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		flags += " -X " + name + "=" + vars[name]
	}
	return flags
}

// sources are the files of the module in dir, by their path in it. Modules
// below it have their own.
func sources(dir string) (map[string]string, error) {
	files := map[string]string{}
	return files, filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil && p != dir {
				return filepath.SkipDir
			}
			return nil
		}
		name, err := filepath.Rel(dir, p)
		if err != nil || strings.HasSuffix(name, "_test.go") {
			return err
		}
		content, err := os.ReadFile(p)
		files[name] = string(content)
		return err
	})
}

// required is the version of module in a go.mod, or "".
func required(gomod, module string) string {
	for line := range strings.Lines(gomod) {
		words := strings.Fields(strings.TrimPrefix(line, "require "))
		if len(words) >= 2 && words[0] == module && strings.HasPrefix(words[1], "v") {
			return words[1]
		}
	}
	return ""
}

// programs are those that were built into dir.
func (r *recipe) programs(dir string) (Set, error) {
	var names []string
	for _, pkg := range r.packages {
		name := path.Base(pkg)
		if pkg == "." {
			name = r.name
		}
		names = append(names, name)
	}
	for _, pkg := range r.tests {
		names = append(names, testName(pkg))
	}
	var set Set
	for _, name := range names {
		p := Program{Name: name, Path: filepath.Join(dir, name), Module: r.name, Version: r.version}
		if _, err := os.Stat(p.Path); err != nil {
			return nil, err
		}
		set = append(set, p)
	}
	return set, nil
}

// testName is what go calls the program of a package's tests.
func testName(pkg string) string { return path.Base(pkg) + ".test" }
