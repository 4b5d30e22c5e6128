package recipe

import (
	"bytes"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// A recipe that is accepted names no path outside the tree, and reads back as
// itself.
//
//fuzz:parser load.go:decode,setDefaults,UnmarshalYAML,MarshalYAML validate.go accounts.go ../../form/form.go:Decode,explain,explainText,keysOf,kindName
func FuzzRecipe(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("name: [1"))
	f.Add([]byte("a: &a [*a]\n---\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &Recipe{}
		if decode(b, r) != nil {
			return
		}
		r.setDefaults()
		if r.validate() != nil {
			return
		}
		var paths []string
		for _, d := range r.Directories {
			paths = append(paths, d.Path)
		}
		for _, file := range r.Files {
			paths = append(paths, file.Path)
			if !filepath.IsLocal(file.Source) && file.Source != "" {
				t.Errorf("source %q is outside the recipe's folder", file.Source)
			}
		}
		for _, p := range paths {
			if !path.IsAbs(p) || path.Clean(p) != p {
				t.Errorf("path %q", p)
			}
		}
		text, err := yaml.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again := &Recipe{}
		if err := decode(text, again); err != nil {
			t.Fatalf("%s\ndoes not read back: %v", text, err)
		}
		if second, _ := yaml.Marshal(again); !bytes.Equal(text, second) {
			t.Errorf("%s\nreads back as\n%s", text, second)
		}
	})
}

// A lock that is accepted is the same lock when it is written and read again,
// and names no file outside a mirror.
//
//fuzz:parser lock.go:ReadLock,check,Write load.go:decode ../../deb/package.go:Check
func FuzzLock(f *testing.F) {
	for _, name := range []string{"guest", "redis"} {
		b, err := os.ReadFile("../../../images/" + name + "/recipe.lock")
		if err != nil {
			f.Fatal(err)
		}
		head, packages, _ := strings.Cut(string(b), "packages:\n")
		first := strings.Join(strings.SplitAfter(packages, "\n")[:16], "")
		f.Add([]byte(head + "packages:\n" + first))
	}
	f.Add([]byte("version: 1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		file := filepath.Join(dir, "recipe.lock")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := ReadLock(file)
		if err != nil {
			return
		}
		for _, p := range append(l.Packages, l.Boot...) {
			if !filepath.IsLocal(p.Path) || p.Size <= 0 || len(p.SHA256) != 64 {
				t.Errorf("accepted %+v", p)
			}
		}
		written := filepath.Join(dir, "again")
		if err := l.Write(written); err != nil {
			t.Fatal(err)
		}
		again, err := ReadLock(written)
		if err != nil {
			t.Fatalf("does not read back: %v", err)
		}
		if first, second := marshal(t, l), marshal(t, again); first != second {
			t.Errorf("%s\nreads back as\n%s", first, second)
		}
	})
}

func marshal(t *testing.T, v any) string {
	b, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
