package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"holdfast/internal/gocmd"
	"holdfast/internal/image/recipe"
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
	gocmd.Go
	dir  string // the recipe's folder
	temp string

	version string // of go, in the lock
}

// check compares the toolchain with the lock's version.
func (c compiler) check(ctx context.Context, want string) error {
	have, err := c.Version(ctx, c.dir)
	if err == nil && have != want {
		return &ToolchainError{Have: have, Want: want}
	}
	return err
}

// module is the folder to build in: for the module ".", the one that holds the
// recipe's folder; for "./folder", that in it; for any other, which is
// module@version, one made for it. Done removes that again.
func (c compiler) module(ctx context.Context, module string) (dir string, done func(), err error) {
	if recipe.IsLocal(module) {
		dir, err = moduleRoot(c.dir)
		return filepath.Join(dir, module), func() {}, err
	}
	dir, err = c.require(ctx, module)
	return dir, func() { _ = os.RemoveAll(dir) }, err
}

// linkFlags decide the bytes of a program, beside its inputs and go's settings.
const linkFlags = "-s -w -buildid="

// link compiles package pkg of the module in dir into the file out.
func (c compiler) link(ctx context.Context, dir, pkg, out string) error {
	_, err := c.Run(ctx, dir, "build", "-trimpath", "-buildvcs=false", "-ldflags", linkFlags, "-o", out, pkg)
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
		if _, err := c.Run(ctx, dir, args...); err != nil {
			return dir, err
		}
	}
	return dir, nil
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
