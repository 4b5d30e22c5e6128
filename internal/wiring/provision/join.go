package provision

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/able"
	"holdfast/internal/ignition/admit"
	"holdfast/internal/ignition/clevis"
	"holdfast/internal/ignition/disks"
	"holdfast/internal/ignition/files"
	"holdfast/internal/ignition/kargs"
	"holdfast/internal/ignition/mount"
	"holdfast/internal/ignition/platform"
	"holdfast/internal/ignition/spec"
	"holdfast/internal/ignition/volume"
)

func (c Command) config(f flags, provide platform.Provider, log *slog.Logger) (ignition.Config, error) {
	reader, fetcher := reader{log: log}, fetcher(f.platform, log)
	keeper := c.keeper(f, fetcher, log)
	conf := ignition.Config{
		Cache: f.cache, NeedNet: f.needNet, State: f.state, Platform: f.platform, Timeout: f.timeout, Log: log,
		SystemDir: c.variable("SYSTEM_CONFIG_DIR", "/usr/lib/ignition"), CommandLine: f.kernel,
		Load: reader.load, Render: reader.render, Check: able.Check, Fetch: fetcher.Fetch, Ask: fetcher.Ask,
		Root: func(o ignition.Origin) { fetcher.Files = volume.Opener(o) },
		Provide: func(ctx context.Context, ask ignition.Ask) (ignition.Provided, error) {
			return provide(ctx, platform.Config{File: c.variable("CONFIG_FILE", ""), CommandLine: f.kernel,
				Serial: firstLine("/sys/class/dmi/id/product_serial"), Log: log}, ask)
		},
		Stage: func(name string, s *ignition.State, fetch ignition.Fetch) (ignition.Stage, error) {
			return c.stage(name, f.root, s, fetch, log)
		},
		Report: func(ctx context.Context, o ignition.Outcome) {
			if o.Err == nil && strings.HasPrefix(o.Stage, "fetch") {
				_ = journal(o.Configs) // it is a copy of what the log has
			}
			keeper.Take(ctx, o)
		},
	}
	return conf, c.guard(&conf, f, log)
}

// guard has configs checked and measured before they are parsed.
func (c Command) guard(conf *ignition.Config, f flags, log *slog.Logger) error {
	gate := admit.Gate{Now: c.now()}
	if f.key != "" {
		var err error
		if gate.Key, err = admit.ParseKey(f.key); err != nil {
			return err
		}
	}
	conf.Admit = gate.Admit
	m, err := c.measurer(f, log)
	if m != nil {
		conf.Measure = m.measure
	}
	return err
}

func (c Command) stage(name, root string, s *ignition.State, fetch ignition.Fetch, log *slog.Logger) (ignition.Stage, error) {
	switch name {
	case "kargs":
		return kargs.New(kargs.Config{Helper: c.variable("KARGS_HELPER", ""), Log: log}), nil
	case "disks":
		conf := disks.Config{State: s, Fetch: fetch, Log: log}
		if clevis.HasDevice() {
			conf.Bind = clevis.Device()
		}
		return disks.New(conf), nil
	case "mount":
		return mount.New(mount.Config{Root: root, State: s, Resolve: disks.Resolve, Log: log}), nil
	case "umount":
		return mount.NewUmount(mount.Config{Root: root, State: s, Log: log}), nil
	case "files":
		return files.New(files.Config{Root: root, State: s, Fetch: fetch, KeyFragments: c.variable("WRITE_AUTHORIZED_KEYS_FRAGMENT", "true") == "true",
			BootID: bootID(), Now: c.now(), Log: log}), nil
	}
	return nil, fmt.Errorf("stage %s is not one of the engine's", name)
}

// A reader loads configs and logs what is odd in them.
type reader struct{ log *slog.Logger }

func (r reader) load(name string, raw []byte, local bool) (types.Config, error) {
	d, err := spec.Loader{Files: local}.Load(name, raw)
	if err != nil {
		return types.Config{}, err
	}
	r.warn(d.Findings)
	return d.Config, nil
}

func (r reader) warn(findings []spec.Finding) {
	for _, f := range findings {
		r.log.Warn(f.String())
	}
}

func (r reader) render(ctx context.Context, name string, c types.Config, local bool, fetch ignition.SettingsFetch, admit ignition.Admit) (types.Config, []string, error) {
	get := func(ctx context.Context, settings types.Ignition, res types.Resource) ([]byte, error) {
		var b bytes.Buffer
		err := fetch(ctx, settings, res, &b)
		return b.Bytes(), err
	}
	whole, err := spec.Renderer{Loader: spec.Loader{Files: local}, Fetch: get, Admit: admit}.Render(ctx, name, c)
	if err != nil {
		return types.Config{}, nil, err
	}
	r.warn(whole.Findings)
	return whole.Config, whole.Sources, able.Check(whole.Config)
}
