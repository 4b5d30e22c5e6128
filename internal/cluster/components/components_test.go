package components

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/gocmd"
	"holdfast/internal/progress"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// small is a module that a test can compile.
var small = module{name: "small", dir: "small", upstream: "example.org/up", packages: []string{"."}, stamp: func(version string) map[string]string {
	return map[string]string{"main.version": version}
}}

// sourcesOf writes small's sources, which print text and the version.
func sourcesOf(t *testing.T, text string) string {
	t.Helper()
	root := t.TempDir()
	write(t, root, "small/go.mod", "module example.org/small\n\ngo 1.26.0\n\nrequire example.org/up v1.2.3\n")
	write(t, root, "small/main.go", "package main\n\nvar version string\n\nfunc main() { println(\""+text+"\", version) }\n")
	return root
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
	check(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
}

// counter counts the steps that are named build.
type counter struct {
	mu     sync.Mutex
	builds int // under mu
}

func (c *counter) Start(name string, _ int64, _ progress.Unit) progress.Step {
	c.mu.Lock()
	defer c.mu.Unlock()
	if strings.HasPrefix(name, "build ") {
		c.builds++
	}
	return progress.Silent.Start("", 0, progress.None)
}

func build(t *testing.T, cfg Config) Set {
	t.Helper()
	set, err := newBuilder(cfg).all(t.Context(), []module{small})
	check(t, err)
	return set
}

func TestProgramTellsTheVersionOfItsUpstream(t *testing.T) {
	set := build(t, Config{Source: sourcesOf(t, "hello"), Dir: t.TempDir()})
	out, err := exec.CommandContext(t.Context(), set.Path("small")).CombinedOutput()
	if want := "hello v1.2.3\n"; err != nil || string(out) != want {
		t.Fatalf("got %q, %v, want %q", out, err, want)
	}
	if len(set.Of("small")) != 1 || set[0].Version != "v1.2.3" || set.Path("other") != "" {
		t.Fatalf("got %+v, want small v1.2.3 alone", set)
	}
}

func TestTheTestsOfAPackageAreAProgram(t *testing.T) {
	source := sourcesOf(t, "hello")
	write(t, source, "small/checked/checked.go", "package checked\n")
	write(t, source, "small/checked/checked_test.go", "package checked\n\nimport \"testing\"\n\nfunc TestIt(t *testing.T) { t.Log(\"looked\") }\n")
	m := small
	m.tests = []string{"./checked"}
	set, err := newBuilder(Config{Source: source, Dir: t.TempDir()}).all(t.Context(), []module{m})
	check(t, err)
	out, err := exec.CommandContext(t.Context(), set.Path("checked.test"), "-test.v").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "looked") {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestSameSourcesAreCompiledOnce(t *testing.T) {
	seen := &counter{}
	cfg := Config{Source: sourcesOf(t, "hello"), Dir: t.TempDir(), Progress: seen}
	first := build(t, cfg)
	write(t, cfg.Source, "small/main_test.go", "package main\n")
	write(t, cfg.Source, "small/below/go.mod", "module example.org/below\n")
	if second := build(t, cfg); second[0].Path != first[0].Path || seen.builds != 1 {
		t.Fatalf("got %s after %s and %d builds, want the same and one", second[0].Path, first[0].Path, seen.builds)
	}
	write(t, cfg.Source, "small/more.go", "package main\n")
	if third := build(t, cfg); third[0].Path == first[0].Path || seen.builds != 2 {
		t.Fatalf("got %s and %d builds after a change, want another and two", third[0].Path, seen.builds)
	}
}

func TestTwoAtOnceMakeOneBuild(t *testing.T) {
	seen := &counter{}
	cfg := Config{Source: sourcesOf(t, "hello"), Dir: t.TempDir(), Progress: seen}
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			_, err := newBuilder(cfg).all(t.Context(), []module{small})
			if err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if seen.builds != 1 {
		t.Fatalf("got %d builds, want 1", seen.builds)
	}
}

func TestBrokenSourcesLeaveNothing(t *testing.T) {
	cfg := Config{Source: sourcesOf(t, "hello"), Dir: t.TempDir()}
	write(t, cfg.Source, "small/more.go", "package main\n\nvar x int = \"text\"\n")
	_, err := newBuilder(cfg).all(t.Context(), []module{small})
	if err == nil || !strings.HasPrefix(err.Error(), "build small: go build: exit status 1: ") || !strings.Contains(err.Error(), "more.go:3:13") {
		t.Fatalf("got %v, want the line named", err)
	}
	if left, _ := filepath.Glob(filepath.Join(cfg.Dir, "*")); len(left) != 1 || filepath.Base(left[0]) != ".lock" {
		t.Fatalf("got %v, want the lock alone", left)
	}
}

func TestLeftoversAndUnusedBuildsAreCollected(t *testing.T) {
	dir := t.TempDir()
	for name, age := range map[string]time.Duration{
		unfinished + "1": 0, "small-old": unused + time.Hour, "small-recent": unused - time.Hour, "other-old": unused + time.Hour,
	} {
		write(t, dir, name+"/program", "")
		then := time.Now().Add(-age)
		check(t, os.Chtimes(filepath.Join(dir, name), then, then))
	}
	build(t, Config{Source: sourcesOf(t, "hello"), Dir: dir})
	for name, want := range map[string]bool{unfinished + "1": false, "small-old": false, "small-recent": true, "other-old": true} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: got %v, want it there: %v", name, err, want)
		}
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	if _, err := Build(t.Context(), Config{Source: t.TempDir(), Dir: t.TempDir()}); !errors.Is(err, ErrNoSources) {
		t.Errorf("got %v, want ErrNoSources", err)
	}
	var missing *gocmd.MissingError
	_, err := newBuilder(Config{Source: sourcesOf(t, "hello"), Dir: t.TempDir(), Go: "no-such-go"}).all(t.Context(), []module{small})
	if !errors.As(err, &missing) || missing.Hint() == "" {
		t.Errorf("got %v, want a MissingError", err)
	}
	cfg := Config{Source: sourcesOf(t, "hello"), Dir: t.TempDir()}
	write(t, cfg.Source, "small/main.go", "package main\n\nimport _ \"example.org/up\"\n\nfunc main() {}\n")
	write(t, cfg.Source, "small/go.sum", "example.org/up v1.2.3 h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nexample.org/up v1.2.3/go.mod h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")
	t.Setenv("GOPROXY", "off")
	var modules *ModulesError
	if _, err = newBuilder(cfg).all(t.Context(), []module{small}); !errors.As(err, &modules) || modules.Hint() == "" {
		t.Errorf("got %v, want a ModulesError", err)
	}
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	b := newBuilder(Config{Source: sourcesOf(t, "hello"), Dir: t.TempDir()})
	unlock, err := b.turn(t.Context())
	check(t, err)
	defer func() { _ = unlock() }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.turn(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want context.Canceled", err)
	}
}

// TestModulesAreThere holds the list to what kube/ has, without compiling it.
func TestModulesAreThere(t *testing.T) {
	b := newBuilder(Config{Source: "../../../kube", Dir: t.TempDir()})
	for _, m := range modules {
		r, err := b.recipe(m)
		if err != nil {
			t.Fatal(err)
		}
		gomod, err := os.ReadFile(filepath.Join(r.dir, "go.mod"))
		check(t, err)
		for _, pkg := range append(r.packages, r.tests...) {
			module := pkg
			for required(string(gomod), module) == "" && strings.Contains(module, "/") {
				module = path.Dir(module)
			}
			if !strings.HasPrefix(pkg, ".") && required(string(gomod), module) == "" {
				t.Errorf("%s: %s is of no module that its go.mod pins", m.name, pkg)
			}
		}
	}
}

func TestAModuleThatImportsOursIsBuiltAnewWithIt(t *testing.T) {
	root := t.TempDir()
	source := filepath.Join(root, "kube")
	check(t, os.MkdirAll(source, 0o755))
	write(t, source, "small/go.mod", "module example.org/small\n\nrequire example.org/up v1.2.3\n")
	write(t, root, "go.mod", "module example.org/ours\n")
	write(t, root, "go.sum", "")
	write(t, root, "internal/a/a.go", "package a\n")
	inside := small
	inside.inside = true
	b := newBuilder(Config{Source: source, Dir: t.TempDir()})
	digest := func() string {
		r, err := b.recipe(inside)
		check(t, err)
		return r.digest
	}
	before := digest()
	if digest() != before {
		t.Fatal("the same sources have two names")
	}
	write(t, root, "internal/a/a.go", "package a\n\nvar X int\n")
	if digest() == before {
		t.Fatal("got the same name after a change of what it imports")
	}
}
