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
	"holdfast/internal/ignition/report"
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
	Memory   Memory       // for the next boot; nil: none is told
	// Post is given the report; nil: nobody is.
	Post func(ctx context.Context, body []byte) error
	// Key makes good by its signature what the config merges or is replaced by;
	// the zero value: only what is named by its hash is.
	Key   admit.Key
	Stage func(name, text, digest string)
	Log   *slog.Logger
	Dir   string // in memory, where nobody else looks; empty: /run/provision
	Root  string // empty: /
	First bool   // set by Run: no earlier boot applied the config
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
	before := b.recall(ctx)
	a := &application{Boot: *b, report: b.keeper(before), began: time.Now(), at: "fetch",
		state: &ignition.State{FetchedConfigs: []ignition.FetchedConfig{{Kind: "user", Source: name}}}}
	found, err := a.all(ctx)
	if err != nil {
		a.took(ctx, err)
	}
	b.remember(ctx, before, ignition.Outcome{Stage: a.at, Err: err})
	b.First = found != done
	return found.String(), err
}

// all is from the config to a machine that is as it says.
func (a *application) all(ctx context.Context) (found standing, err error) {
	if a.config, err = a.load(ctx); err == nil {
		err = Check(name, a.config)
	}
	if err != nil {
		return never, err
	}
	a.took(ctx, nil)
	a.at = "disks"
	return a.run(ctx)
}

// took tells how the stage that the machine is at ended.
func (a *application) took(ctx context.Context, err error) {
	a.report.Take(ctx, ignition.Outcome{Stage: a.at, Started: a.began, Err: err, Configs: a.state.FetchedConfigs})
	a.began = time.Now()
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
	c, _, err := r.render(ctx, name, d.Config, false, b.fetch(), admit.Gate{Key: b.Key, Strict: true}.Admit)
	return c, err
}

func (b Boot) fetch() ignition.SettingsFetch { return fetch.New(fetch.Config{Log: b.Log}).Fetch }

// An application is what is done with a config.
type application struct {
	Boot
	config types.Config
	state  *ignition.State

	report *report.Keeper
	at     string    // the stage that it is at
	began  time.Time // when that did
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
		a.at, a.began = s.Name(), time.Now()
		if err := s.Run(ctx, a.config); err != nil {
			return fmt.Errorf("stage %s: %w", s.Name(), err)
		}
		a.Stage(s.Name(), fmt.Sprintf("of the Ignition config, in %v", time.Since(a.began).Round(time.Millisecond)), "")
		a.took(ctx, nil)
	}
	return nil
}

func (a *application) mounts() ignition.Stage {
	return mount.New(mount.Config{Root: a.Root, State: a.state, Resolve: disks.Resolve, Log: a.Log})
}

func (a *application) files() ignition.Stage {
	return files.New(files.Config{Root: a.Root, State: a.state, Fetch: a.get, KeyFragments: true, Resolve: disks.Resolve,
		BootID: bootID(), Log: a.Log})
}

func (a *application) path(part string) string { return filepath.Join(a.Dir, part) }
