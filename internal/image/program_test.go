package image

import (
	"archive/zip"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/gocmd"
	"holdfast/internal/image/recipe"
)

// goProxy serves one module from files: https://go.dev/ref/mod#goproxy-protocol
func goProxy(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "example.org", "tool", "@v")
	check(t, os.MkdirAll(dir, 0o755))
	check(t, os.WriteFile(filepath.Join(dir, "v1.2.3.info"), []byte(`{"Version":"v1.2.3"}`), 0o644))
	check(t, os.WriteFile(filepath.Join(dir, "v1.2.3.mod"), []byte("module example.org/tool\n"), 0o644))
	f, err := os.Create(filepath.Join(dir, "v1.2.3.zip"))
	check(t, err)
	z := zip.NewWriter(f)
	for name, content := range map[string]string{
		"go.mod": "module example.org/tool\n", "cmd/x/main.go": "package main\n\nfunc main() {}\n",
	} {
		w, err := z.Create("example.org/tool@v1.2.3/" + name)
		check(t, err)
		_, err = w.Write([]byte(content))
		check(t, err)
	}
	check(t, errors.Join(z.Close(), f.Close()))
	return "file://" + root
}

// compileTo builds example.org/tool/cmd/x of module into the file out.
func compileTo(t *testing.T, c compiler, module, out string) error {
	t.Helper()
	dir, done, err := c.module(t.Context(), module)
	defer done()
	if err != nil {
		return err
	}
	return c.link(t.Context(), dir, "example.org/tool/cmd/x", out)
}

func TestProgramOfAnotherModuleIsBuiltAtItsVersion(t *testing.T) {
	t.Setenv("GOPROXY", goProxy(t))
	t.Setenv("GONOSUMDB", "example.org")
	t.Setenv("GOMODCACHE", t.TempDir())
	t.Cleanup(func() { run(t, "go", "clean", "-modcache") }) // its files are read-only
	c := compiler{Go: gocmd.Go{Tool: "go", Arch: "amd64"}, dir: t.TempDir(), temp: t.TempDir()}
	out := filepath.Join(t.TempDir(), "x")
	check(t, compileTo(t, c, "example.org/tool@v1.2.3", out))
	listed := string(run(t, "go", "version", "-m", out))
	for _, want := range []string{runtime.Version(), "example.org/tool\tv1.2.3", "CGO_ENABLED=0", "-trimpath=true"} {
		if !strings.Contains(listed, want) {
			t.Errorf("got\n%swant %q in it", listed, want)
		}
	}
	for _, module := range []string{"example.org/tool", "example.org/tool@latest"} {
		if err := compileTo(t, c, module, out); err == nil {
			t.Errorf("module %s: built without a version", module)
		}
	}
}

func TestProgramWithoutAModuleIsExplained(t *testing.T) {
	c := compiler{Go: gocmd.Go{Tool: "go", Arch: "amd64"}, dir: t.TempDir()}
	err := compileTo(t, c, ".", filepath.Join(t.TempDir(), "x"))
	if err == nil || !strings.Contains(err.Error(), "no go.mod") {
		t.Fatalf("got %v, want the missing go.mod named", err)
	}
}

func TestExperimentsOfTheGoToolchainDoNotReachPrograms(t *testing.T) {
	t.Setenv("GOPROXY", goProxy(t))
	t.Setenv("GONOSUMDB", "example.org")
	t.Setenv("GOMODCACHE", t.TempDir())
	t.Cleanup(func() { run(t, "go", "clean", "-modcache") })
	c := compiler{Go: gocmd.Go{Tool: "go", Arch: "amd64"}, dir: t.TempDir(), temp: t.TempDir()}
	out := filepath.Join(t.TempDir(), "x")
	t.Setenv("GOEXPERIMENT", "nogreenteagc")
	check(t, compileTo(t, c, "example.org/tool@v1.2.3", out))
	if listed := string(run(t, "go", "version", "-m", out)); strings.Contains(listed, "EXPERIMENT") || strings.Contains(listed, "X:") {
		t.Errorf("got\n%swant no experiment in it", listed)
	}

	settings := filepath.Join(t.TempDir(), "env")
	check(t, os.WriteFile(settings, []byte("GOEXPERIMENT=nogreenteagc\n"), 0o644))
	t.Setenv("GOENV", settings)
	err := c.check(t.Context(), runtime.Version())
	if err == nil || !strings.Contains(err.Error(), "go env -u GOEXPERIMENT") {
		t.Errorf("got %v, want the setting named", err)
	}
}

func TestModuleInAFolderIsBuiltAsItself(t *testing.T) {
	root := t.TempDir()
	for name, content := range map[string]string{
		"go.mod": "module example.org/root\n", "below/go.mod": "module example.org/below\n\ngo 1.26.0\n",
		"below/main.go": "package main\n\nfunc main() {}\n", "images/x/recipe.yaml": "",
	} {
		check(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		check(t, os.WriteFile(filepath.Join(root, name), []byte(content), 0o644))
	}
	c := compiler{Go: gocmd.Go{Tool: "go", Arch: "amd64"}, dir: filepath.Join(root, "images", "x")}
	dir, done, err := c.module(t.Context(), "./below")
	check(t, err)
	defer done()
	out := filepath.Join(t.TempDir(), "x")
	check(t, c.link(t.Context(), dir, ".", out))
	if listed := string(run(t, "go", "version", "-m", out)); !strings.Contains(listed, "example.org/below") {
		t.Errorf("got\n%swant example.org/below", listed)
	}
	in, err := c.inputs(t.Context(), dir, ".", false)
	check(t, err)
	if want := filepath.Join(root, "below", "main.go"); !slices.Contains(in.sources, want) {
		t.Errorf("got sources %v, want %s", in.sources, want)
	}
}

func TestAProgramHasTheModeThatItsRecipeSays(t *testing.T) {
	for said, want := range map[recipe.Mode]uint32{0: 0o755, 0o4755: 0o4755} {
		o := helloOptions(t)
		o.Recipe.Programs[0].Mode = said
		var err error
		o.Lock.Recipe, err = o.Recipe.Digest()
		check(t, err)
		b, err := newBuild(t.Context(), o)
		check(t, err)
		defer b.close()
		tr, err := b.tree(t.Context())
		check(t, err)
		if got := tr.Lookup("usr/bin/compiled").Mode; got != want {
			t.Errorf("mode %o: got %o, want %o", said, got, want)
		}
	}
}
