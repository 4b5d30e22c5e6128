package provision

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/files"
	"holdfast/internal/ignition/platform"
)

func (c Command) config(f flags, provide platform.Provider, log *slog.Logger) ignition.Config {
	return ignition.Config{
		Cache: f.cache, NeedNet: f.needNet, State: f.state, Platform: f.platform, Timeout: f.timeout, Log: log,
		SystemDir: c.variable("SYSTEM_CONFIG_DIR", "/usr/lib/ignition"), CommandLine: firstLine("/proc/cmdline"),
		Load: reader{log}.load, Render: reader{log}.render, Fetch: fetcher(f.platform, log).Fetch,
		Provide: func(ctx context.Context, fetch ignition.Fetch) ([]byte, error) {
			return provide(ctx, platform.Config{File: c.variable("CONFIG_FILE", "")}, fetch)
		},
		Stage: func(name string, s *ignition.State, fetch ignition.Fetch) (ignition.Stage, error) {
			return c.stage(name, f.root, s, fetch, log)
		},
	}
}

func (c Command) stage(name, root string, s *ignition.State, fetch ignition.Fetch, log *slog.Logger) (ignition.Stage, error) {
	switch name {
	case "files":
		return files.New(files.Config{Root: root, State: s, Fetch: fetch, KeyFragments: c.variable("WRITE_AUTHORIZED_KEYS_FRAGMENT", "true") == "true",
			BootID: firstLine("/proc/sys/kernel/random/boot_id"), Now: c.now(), Log: log}), nil
	case "disks", "mount", "umount", "kargs":
		return nothing(name), nil
	}
	return nil, fmt.Errorf("stage %s is not made yet", name)
}

type nothing string

func (n nothing) Name() string                            { return string(n) }
func (nothing) Run(context.Context, types.Config) error { return nil }
