// Package kargs is the stage that has a distribution's own helper change the
// kernel's arguments.
//
// Only the distribution knows where its boot loader keeps them: the helper is
// told what has to be there and what not, and restarts the machine itself when
// something changed.
package kargs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
)

// Config is what the stage works with.
type Config struct {
	Helper string // upstream's name for it is ignition-kargs-helper
	// Exec runs it; the default takes it from PATH.
	Exec func(ctx context.Context, name string, args ...string) error
	Log  *slog.Logger
}

// New is the stage.
func New(c Config) ignition.Stage {
	if c.Helper == "" {
		c.Helper = "ignition-kargs-helper"
	}
	if c.Exec == nil {
		c.Exec = run
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return stage(c)
}

type stage Config

// Name is how the command line calls it.
func (stage) Name() string { return "kargs" }

// Run asks for nothing when the config does.
func (s stage) Run(ctx context.Context, c types.Config) error {
	var args []string
	for _, a := range c.KernelArguments.ShouldExist {
		args = append(args, "--should-exist", string(a))
	}
	for _, a := range c.KernelArguments.ShouldNotExist {
		args = append(args, "--should-not-exist", string(a))
	}
	if len(args) == 0 {
		return nil
	}
	if err := s.Exec(ctx, s.Helper, args...); err != nil {
		return ignition.At(err, "$.kernelArguments")
	}
	s.Log.Info("kernel arguments checked", "helper", s.Helper)
	return nil
}

func run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s: this image has no helper for its kernel arguments", name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %.200s", name, err, bytes.TrimSpace(out))
	}
	return nil
}
