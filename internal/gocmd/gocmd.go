// Package gocmd calls the go command with everything fixed that could change
// what it makes.
//
// The same sources, flags and version of Go give the same bytes, whatever the
// environment of the caller says.
package gocmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"slices"
	"strings"

	"holdfast/internal/progress"
)

// A Go is the go command, and what it builds for.
type Go struct {
	Tool string // its path or name
	Arch string // as Go calls it, which is Debian's name too of those we build
}

// A MissingError tells that there is no go command.
type MissingError struct{ Tool string }

func (e *MissingError) Error() string { return e.Tool + ": no such program here" }

// Hint says what a person can do.
func (e *MissingError) Hint() string { return "install Go from https://go.dev/dl" }

// Settings are the variables that Run fixes.
func (g Go) Settings() []string {
	return []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + g.Arch, "GOAMD64=v1", "GOARM64=v8.0", "GOFIPS140=off",
		"GOFLAGS=-trimpath", "GOWORK=off", "GOTOOLCHAIN=local", "GO111MODULE=on"}
}

// Run calls go in dir and returns what it prints.
func (g Go) Run(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := g.command(ctx, dir, args)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := g.explain(args[0], cmd.Run(), &problems)
	return out.String(), err
}

// Build calls "go build -v" in dir, and moves step by every package that it
// compiles.
func (g Go) Build(ctx context.Context, dir string, step progress.Step, args ...string) error {
	return g.told(ctx, dir, step, append([]string{"build", "-v", "-buildvcs=false"}, args...))
}

// BuildTest calls "go test -c" in dir: a program of a package's tests. Upstream
// is not vetted again.
func (g Go) BuildTest(ctx context.Context, dir string, step progress.Step, args ...string) error {
	return g.told(ctx, dir, step, append([]string{"test", "-c", "-vet=off", "-buildvcs=false"}, args...))
}

func (g Go) told(ctx context.Context, dir string, step progress.Step, args []string) error {
	cmd := g.command(ctx, dir, args)
	said := &talk{step: step}
	cmd.Stderr = said
	return g.explain(args[0], cmd.Run(), said)
}

// command has everything fixed that could change go's output. GOFLAGS is set
// to what is wanted anyhow: an empty one would fall back to go's own file of
// settings. There is no value of GOEXPERIMENT that means none and leaves no
// trace in the program, so that is taken out; see Version.
func (g Go) command(ctx context.Context, dir string, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, g.Tool, args...)
	cmd.Dir = dir
	inherited := slices.DeleteFunc(cmd.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "GOEXPERIMENT=") })
	cmd.Env = append(inherited, g.Settings()...)
	return cmd
}

func (g Go) explain(verb string, err error, problems fmt.Stringer) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return &MissingError{Tool: g.Tool}
	}
	if err != nil {
		return fmt.Errorf("go %s: %w: %s", verb, err, strings.TrimSpace(problems.String()))
	}
	return nil
}

// Version is that of the go command, as runtime.Version has it. It is an error
// when go's own file of settings names experiments.
func (g Go) Version(ctx context.Context, dir string) (string, error) {
	out, err := g.Run(ctx, dir, "env", "GOVERSION", "GOEXPERIMENT")
	if err != nil {
		return "", err
	}
	version, experiment, _ := strings.Cut(strings.TrimSpace(out), "\n")
	if experiment != "" {
		return "", fmt.Errorf(`go is set to GOEXPERIMENT=%s, which gives other bytes: run "go env -u GOEXPERIMENT"`, experiment)
	}
	return version, nil
}
