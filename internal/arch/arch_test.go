package arch

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const internal = ".."

func TestImportsGoDownOnly(t *testing.T) {
	files := 0
	err := eachFile(func(pkg, path string) {
		files++
		for _, imported := range importsOf(t, path) {
			if err := CheckImport(pkg, imported); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Fatalf("read %d files: the walk did not find the sources", files)
	}
}

func TestTheRulesForbid(t *testing.T) {
	for _, c := range []struct{ from, path, want string }{
		{"broker", "holdfast/internal/machine/qemu", "never import one another"},
		{"enc", "holdfast/internal/guest", "go down only"},
		{"api", "net/http", "neither disk nor network"},
		{"atomicfile", "golang.org/x/sys/unix", "standard library only"},
		{"image", "github.com/spf13/cobra", "only cli"},
		{"nowhere", "os", "no layer"},
	} {
		err := CheckImport(c.from, c.path)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s importing %s: got %v, want an error with %q", c.from, c.path, err, c.want)
		}
	}
}

func TestEveryPackageSaysItsIdea(t *testing.T) {
	said := map[string]bool{}
	err := eachFile(func(pkg, path string) {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		said[pkg] = said[pkg] || f.Doc != nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg, ok := range said {
		if !ok {
			t.Errorf("internal/%s has no package comment", pkg)
		}
	}
}

// eachFile visits the Go sources that are not tests.
func eachFile(visit func(pkg, path string)) error {
	return filepath.WalkDir(internal, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "testdata" {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			rel, err := filepath.Rel(internal, filepath.Dir(path))
			if err != nil {
				return err
			}
			visit(filepath.ToSlash(rel), path)
		}
		return nil
	})
}

func importsOf(t *testing.T, path string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, spec := range f.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}
