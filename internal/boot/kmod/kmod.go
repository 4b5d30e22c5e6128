// Package kmod finds kernel modules and all they depend upon.
//
// It reads what the modules say of themselves (.modinfo), since a kernel
// package carries no modules.dep before depmod has run. Only modules that are
// asked for are read, unless a soft dependency names an alias.
package kmod

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// A Module is a file of the tree.
type Module struct {
	Name string // with underscores: virtio_blk
	Path string // kernel/drivers/block/virtio_blk.ko, also when the file is compressed
}

// ErrNotFound is wrapped when the kernel has no such module.
var ErrNotFound = errors.New("the kernel has no such module")

// A Tree is the folder lib/modules/VERSION.
type Tree struct {
	fsys    fs.FS
	paths   map[string]string // by name
	builtin map[string]bool   // names and aliases
	infos   map[string]info   // read so far
	aliases map[string]string // alias to name; nil until needed
}

// Open indexes fsys, which is rooted at lib/modules/VERSION.
func Open(fsys fs.FS) (*Tree, error) {
	t := &Tree{fsys: fsys, paths: map[string]string{}, builtin: map[string]bool{}, infos: map[string]info{}}
	err := fs.WalkDir(fsys, "kernel", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(d.Name(), ".ko") {
			t.paths[nameOf(p)] = p
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("kernel modules: %w", err)
	}
	return t, t.readBuiltin()
}

// nameOf turns kernel/fs/dm-mod.ko into dm_mod.
func nameOf(p string) string {
	name, _, _ := strings.Cut(path.Base(p), ".ko")
	return canonical(name)
}

func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// readBuiltin reads modules.builtin (a path a line) and modules.builtin.modinfo
// (MODULE.KEY=VALUE, each ended by NUL). Both are optional.
func (t *Tree) readBuiltin() error {
	list, err := fs.ReadFile(t.fsys, "modules.builtin")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("kernel modules: %w", err)
	}
	for s := bufio.NewScanner(bytes.NewReader(list)); s.Scan(); {
		t.builtin[nameOf(s.Text())] = true
	}
	infos, err := fs.ReadFile(t.fsys, "modules.builtin.modinfo")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("kernel modules: %w", err)
	}
	for _, field := range strings.Split(string(infos), "\x00") {
		if _, alias, ok := strings.Cut(field, ".alias="); ok {
			t.builtin[canonical(alias)] = true
		}
	}
	return nil
}

// Resolve returns the named modules and their dependencies in load order.
// Dash and underscore are the same; a built-in module resolves to nothing.
func (t *Tree) Resolve(names ...string) ([]Module, error) {
	r := resolver{tree: t, seen: map[string]bool{}}
	for _, name := range names {
		if err := r.add(canonical(name)); err != nil {
			return nil, fmt.Errorf("module %s: %w", name, err)
		}
	}
	return r.order, nil
}

type resolver struct {
	tree  *Tree
	seen  map[string]bool
	order []Module
}

// add appends what name needs, then name itself.
func (r *resolver) add(name string) error {
	name, err := r.tree.lookup(name)
	if err != nil || name == "" || r.seen[name] {
		return err
	}
	r.seen[name] = true
	p := r.tree.paths[name]
	info, err := r.tree.info(name)
	if err != nil {
		return err
	}
	for _, soft := range info.pre {
		if err := r.add(canonical(soft)); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	for _, need := range info.depends {
		if err := r.add(canonical(need)); err != nil {
			return fmt.Errorf("needs %s: %w", need, err)
		}
	}
	r.order = append(r.order, Module{Name: name, Path: strings.TrimSuffix(p, compression(p))})
	return nil
}

// lookup turns a name or alias into the name of a module with a file, or into
// nothing when it is built in.
func (t *Tree) lookup(name string) (string, error) {
	if _, ok := t.paths[name]; ok {
		return name, nil
	}
	if t.builtin[name] {
		return "", nil
	}
	if t.aliases == nil {
		if err := t.readAliases(); err != nil {
			return "", err
		}
	}
	if target, ok := t.aliases[name]; ok {
		return target, nil
	}
	return "", ErrNotFound
}

// readAliases reads every module once. Where several carry an alias, the
// generic one works on any processor.
func (t *Tree) readAliases() error {
	t.aliases = map[string]string{}
	names := make([]string, 0, len(t.paths))
	for name := range t.paths {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		info, err := t.info(name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for _, alias := range info.aliases {
			if _, taken := t.aliases[canonical(alias)]; !taken || strings.HasSuffix(name, "_generic") {
				t.aliases[canonical(alias)] = name
			}
		}
	}
	return nil
}
