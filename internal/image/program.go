package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A ToolchainError tells that Go here is not the Go of the lock, so that the
// same lock would give other bytes.
type ToolchainError struct{ Have, Want string }

func (e *ToolchainError) Error() string {
	return fmt.Sprintf("go toolchain is %s, lock says %s", e.Have, e.Want)
}

// Hint says what a person can do.
func (e *ToolchainError) Hint() string {
	return `install the Go of the lock, or run "holdfast image lock" to lock to the present one`
}

// A compiler builds the Go programs of a recipe.
type compiler struct {
	tool string // path of the go command
	arch string // Debian's name of the architecture, which is also Go's for those we build
	dir  string // the recipe's folder
	temp string

	version string // of go, in the lock
}

// check compares the toolchain with the lock's version.
func (c compiler) check(ctx context.Context, want string) error {
	out, err := c.run(ctx, c.dir, "env", "GOVERSION", "GOEXPERIMENT")
	if err != nil {
		return err
	}
	have, experiment, _ := strings.Cut(strings.TrimSpace(out), "\n")
	if have != want {
		return &ToolchainError{Have: have, Want: want}
	}
	if experiment != "" {
		return fmt.Errorf(`go is set to GOEXPERIMENT=%s, which gives other bytes: run "go env -u GOEXPERIMENT"`, experiment)
	}
	return nil
}

// module is the folder to build in: for the module ".", the one that holds the
// recipe's folder; for any other, which is module@version, one made for it.
// Done removes that again.
func (c compiler) module(ctx context.Context, module string) (dir string, done func(), err error) {
	if module == "." {
		dir, err = moduleRoot(c.dir)
		return dir, func() {}, err
	}
	dir, err = c.require(ctx, module)
	return dir, func() { _ = os.RemoveAll(dir) }, err
}

// linkFlags decide the bytes of a program, beside its inputs and run's settings.
const linkFlags = "-s -w -buildid="

// link compiles package pkg of the module in dir into the file out.
func (c compiler) link(ctx context.Context, dir, pkg, out string) error {
	_, err := c.run(ctx, dir, "build", "-trimpath", "-buildvcs=false", "-ldflags", linkFlags, "-o", out, pkg)
	return err
}

// require makes a temporary module that needs module@version.
func (c compiler) require(ctx context.Context, module string) (string, error) {
	if _, version, ok := strings.Cut(module, "@"); !ok || version == "" || version == "latest" {
		return "", fmt.Errorf("module %q: want . or module@version", module)
	}
	dir, err := os.MkdirTemp(c.temp, "holdfast-module-*")
	if err != nil {
		return "", err
	}
	for _, args := range [][]string{{"mod", "init", "program"}, {"get", module}} {
		if _, err := c.run(ctx, dir, args...); err != nil {
			return dir, err
		}
	}
	return dir, nil
}

// run calls go with everything fixed that could change its output. GOFLAGS is
// set to what is wanted anyhow: an empty one would fall back to go's own file
// of settings. There is no value of GOEXPERIMENT that means none and leaves no
// trace in the program, so that is taken out, and check looks into the file.
func (c compiler) run(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.tool, args...)
	cmd.Dir = dir
	inherited := slices.DeleteFunc(cmd.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "GOEXPERIMENT=") })
	cmd.Env = append(inherited, c.settings()...)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return "", &MissingToolError{Tool: c.tool, Install: "install Go from https://go.dev/dl"}
	}
	if err != nil {
		return "", fmt.Errorf("go %s: %w: %s", args[0], err, strings.TrimSpace(problems.String()))
	}
	return out.String(), nil
}

func (c compiler) settings() []string {
	return []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + c.arch, "GOAMD64=v1", "GOARM64=v8.0", "GOFIPS140=off",
		"GOFLAGS=-trimpath", "GOWORK=off", "GOTOOLCHAIN=local", "GO111MODULE=on"}
}

// moduleRoot is the folder of the go.mod above dir.
func moduleRoot(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for d := abs; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("%s: no go.mod in it or above, so module . is unknown", abs)
		}
	}
}
