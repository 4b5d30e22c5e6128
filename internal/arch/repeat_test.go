package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// The program cannot be given another clock from outside: it asks the kernel
// for the time without any library. So what makes an image is searched for
// whatever differs from run to run.
var fickle = []string{"time.Now", "time.Since", "time.Until", "os.Hostname", "os.Getpid", "os.Environ", "os.Getenv",
	"user.Current", "rand.Read", "rand.Int", "rand.IntN", "rand.Uint64", "rand.Text"}

func TestWhatMakesImagesAsksNeitherClockNorChance(t *testing.T) {
	found := map[string]bool{}
	err := eachFile(func(pkg, path string) {
		first, _, _ := strings.Cut(pkg, "/")
		if first != "boot" && pkg != "image" && pkg != "image/tree" && pkg != "image/recipe" {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && slices.Contains(fickle, x.Name+"."+s.Sel.Name) {
					found[path+" "+x.Name+"."+s.Sel.Name] = true
				}
			}
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	for use := range found {
		t.Errorf("%s: an image would depend on it", use)
	}
}
