package provision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/admit"
	"holdfast/internal/ignition/disks"
	"holdfast/internal/ignition/fetch"
	"holdfast/internal/ignition/files"
	"holdfast/internal/ignition/mount"
	"holdfast/internal/ignition/spec"
)

// A Boot is one boot of a machine image whose measured configuration has an
// Ignition config. Its root is read-only: /etc and /var become overlays, of
// memory or of the state that the config keeps on a disk.
type Boot struct {
	Ignition []byte
	Digest   string       // of the configuration that it is part of: sha256:…
	Exec     disks.Runner // nil: programs of PATH
	TPM      TPM          // nil: there is none
	Stage    func(name, text, digest string)
	Log      *slog.Logger
	Dir      string // in memory, where nobody else looks; empty: /run/provision
	Root     string // empty: /
	First    bool   // set by Run: no earlier boot applied the config
}

// name is how the config is called in errors.
const name = "ignition.json"

// Run applies the config, or goes on with what it made at an earlier boot. The
// text says which.
func (b *Boot) Run(ctx context.Context) (text string, err error) {
	if b.Dir == "" {
		b.Dir = "/run/provision"
	}
	if b.Root == "" {
		b.Root = "/"
	}
	if err := os.MkdirAll(b.Dir, 0o700); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.Dir)) }() // the config may hold secrets
	c, err := b.load(ctx)
	if err != nil {
		return "", err
	}
	if err := Check(name, c); err != nil {
		return "", err
	}
	a := &application{Boot: *b, config: c, state: &ignition.State{FetchedConfigs: []ignition.FetchedConfig{{Kind: "user", Source: name}}}}
	found, err := a.run(ctx)
	b.First = found != done
	return found.String(), err
}

// load reads the config, and what it merges or is replaced by.
func (b Boot) load(ctx context.Context) (types.Config, error) {
	d, err := spec.Loader{}.Load(name, b.Ignition)
	if errors.Is(err, spec.ErrEmpty) {
		return types.Config{}, nil
	}
	if err != nil {
		return types.Config{}, err
	}
	r := reader{b.Log}
	r.warn(d.Findings)
	c, _, err := r.render(ctx, name, d.Config, false, b.fetch(), admit.Gate{Strict: true}.Admit)
	return c, err
}

func (b Boot) fetch() ignition.SettingsFetch { return fetch.New(fetch.Config{Log: b.Log}).Fetch }

// An application is what is done with a config.
type application struct {
	Boot
	config types.Config
	state  *ignition.State
}

func (a *application) get(ctx context.Context, r types.Resource, w io.Writer) error {
	return a.fetch()(ctx, a.config.Ignition, r, w)
}

func (a *application) run(ctx context.Context) (standing, error) {
	if stateIndex(a.config) < 0 {
		if err := a.overlays(""); err != nil {
			return never, err
		}
		return never, a.stages(ctx, a.files())
	}
	k := disks.NewKept(a.disksConfig(false), a.config)
	found, err := a.look(ctx, k)
	switch {
	case err != nil:
		return found, err
	case found == done:
		return found, a.goOn(ctx, k)
	}
	return found, a.begin(ctx, k, found == cut)
}

// stages runs them in turn and says so.
func (a *application) stages(ctx context.Context, list ...ignition.Stage) error {
	for _, s := range list {
		begin := time.Now()
		if err := s.Run(ctx, a.config); err != nil {
			return fmt.Errorf("stage %s: %w", s.Name(), err)
		}
		a.Stage(s.Name(), fmt.Sprintf("of the Ignition config, in %v", time.Since(begin).Round(time.Millisecond)), "")
	}
	return nil
}

func (a *application) mounts() ignition.Stage {
	return mount.New(mount.Config{Root: a.Root, State: a.state, Resolve: disks.Resolve, Log: a.Log})
}

func (a *application) files() ignition.Stage {
	return files.New(files.Config{Root: a.Root, State: a.state, Fetch: a.get, KeyFragments: true, Resolve: disks.Resolve,
		BootID: firstLine("/proc/sys/kernel/random/boot_id"), Log: a.Log})
}

func (a *application) path(part string) string { return filepath.Join(a.Dir, part) }
