package kmod

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

// Names that a module gives are single words from its own bytes.
//
//fuzz:parser modinfo.go
func FuzzModinfo(f *testing.F) {
	f.Add(module("depends=a,b", "softdep=pre: c", "alias=d"))
	f.Add(module("softdep=pre: a b post: c pre: d", "depends="))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		fsys := fstest.MapFS{"m.ko": {Data: b}}
		file, err := fsys.Open("m.ko")
		if err != nil {
			t.Fatal(err)
		}
		defer func(c fs.File) { _ = c.Close() }(file)
		i, err := readInfo(file)
		if err != nil {
			return
		}
		for _, name := range append(append(i.depends, i.pre...), i.aliases...) {
			if strings.ContainsRune(name, 0) {
				t.Errorf("got name %q", name)
			}
		}
		for _, name := range i.depends {
			if name == "" || strings.Contains(name, ",") {
				t.Errorf("depends on %q", name)
			}
		}
	})
}

// Whatever modules say of each other, resolving ends, and each module comes
// once and behind what it needs.
//
//fuzz:parser kmod.go modinfo.go:parseInfo,softPre
func FuzzResolve(f *testing.F) {
	f.Add("depends=b", "depends=c", "", "", "")
	f.Add("depends=b", "depends=a", "softdep=pre: a", "kernel/fs/ext-four.ko\n", "sha256.alias=c\x00")
	f.Add("softdep=pre: x", "alias=x", "alias=x", "\n\n", "a.alias=b")
	f.Fuzz(func(t *testing.T, a, b, c, builtin, infos string) {
		fsys := fstest.MapFS{
			"modules.builtin": {Data: []byte(builtin)}, "modules.builtin.modinfo": {Data: []byte(infos)},
			"kernel/a.ko": {Data: module(a)}, "kernel/b.ko": {Data: module(b)}, "kernel/c_generic.ko": {Data: module(c)},
		}
		tree, err := Open(fsys)
		if err != nil {
			return
		}
		list, err := tree.Resolve("a", "c", "x")
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, m := range list {
			if seen[m.Name] || fsys[m.Path] == nil {
				t.Errorf("module %+v comes twice or has no file", m)
			}
			seen[m.Name] = true
		}
	})
}
