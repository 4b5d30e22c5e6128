package ignition

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	latest "github.com/coreos/ignition/v2/config/v3_7_experimental"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/atomicfile"
)

// Config is what the engine works with; Load, Render, Provide, Fetch and Stage
// join the parts that it does not know.
type Config struct {
	Cache   string // file of the whole config, from the fetch stages for the others
	NeedNet string // file that fetch-offline leaves when the network is needed
	State   string // file of what a stage leaves for the next
	// SystemDir has the distribution's own configs: base.d, base.platform.d/NAME
	// and user.ign.
	SystemDir string
	// CommandLine is the kernel's: ignition.config.url=URL there comes first.
	CommandLine string
	Platform    string        // its name
	Timeout     time.Duration // for the first config

	// Load reads a config of any version; the name is for errors. Local ones may
	// name files.
	Load func(name string, raw []byte, local bool) (types.Config, error)
	// Render follows what a config merges or is replaced by; it tells the sources.
	Render func(ctx context.Context, name string, c types.Config, local bool, fetch SettingsFetch, admit Admit) (types.Config, []string, error)
	// Provide gets the platform's config, or ErrNoConfig.
	Provide func(ctx context.Context, ask Ask) (Provided, error)
	// Ask is what platforms ask with.
	Ask Ask
	// Admit is asked for each config of the user's and all that it merges; nil
	// admits all.
	Admit Admit
	// Measure puts a config that was admitted where nothing takes it back, once a
	// boot and before it is parsed; nil measures nothing.
	Measure func(ctx context.Context, source string, config []byte) error
	// Check refuses what no stage can do. The fetch stages ask it of the config with
	// the distribution's, before they keep it; nil refuses nothing.
	Check func(whole types.Config) error
	// Report is told how a stage ended; nil tells nobody.
	Report func(ctx context.Context, o Outcome)
	// Root is told where a config lay before files are fetched from there; nil
	// when no config may name files.
	Root func(o Origin)
	// Fetch gets what a resource names, by the settings of a config.
	Fetch SettingsFetch
	// Stage makes one by name, with the fetcher that the config asks for.
	Stage func(name string, s *State, fetch Fetch) (Stage, error)
	Log   *slog.Logger
}

// SettingsFetch is Fetch with the timeouts, proxies and authorities of a config.
type SettingsFetch func(ctx context.Context, settings types.Ignition, r types.Resource, w io.Writer) error

// with is the fetcher of a config.
func (f SettingsFetch) with(settings types.Ignition) Fetch {
	return func(ctx context.Context, r types.Resource, w io.Writer) error { return f(ctx, settings, r, w) }
}

// Run runs one stage.
func Run(ctx context.Context, stage string, c Config) error {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	o := Outcome{Stage: stage, Started: time.Now()}
	o.Err = c.runStage(ctx, &o)
	if c.Report != nil {
		c.Report(ctx, o)
	}
	return o.Err
}

func (c Config) runStage(ctx context.Context, o *Outcome) error {
	stage := o.Stage
	state, err := LoadState(c.State)
	if err != nil {
		return err
	}
	e := &engine{Config: c, state: state}
	defer func() { o.Configs, o.Settings = state.FetchedConfigs, e.settings }()
	if state.Origin != nil && c.Root != nil && !strings.HasPrefix(stage, "fetch") {
		c.Root(*state.Origin)
	}
	if stage == "fetch-offline" {
		e.Fetch = offline(c.Fetch)
		e.Ask = func(context.Context, Request) ([]byte, error) { return nil, ErrNeedNet }
	}
	err = e.run(ctx, stage)
	if stage == "fetch-offline" && errors.Is(err, ErrNeedNet) {
		c.Log.Info("the config is complete with the network only", "left", c.NeedNet)
		err = e.signal()
	}
	if err != nil {
		return fmt.Errorf("stage %s: %w", stage, err)
	}
	return state.Save(c.State)
}

type engine struct {
	Config
	state    *State
	settings types.Ignition // of the config, once it is there
}

// An Outcome is how a stage ended.
type Outcome struct {
	Stage    string
	Started  time.Time
	Err      error
	Configs  []FetchedConfig
	Settings types.Ignition // by which a report can be sent
}

func (e *engine) run(ctx context.Context, stage string) error {
	base, err := e.base()
	if err != nil {
		return err
	}
	fetching := strings.HasPrefix(stage, "fetch")
	own, err := e.config(ctx, base, fetching)
	if err != nil {
		return err
	}
	e.settings = own.Ignition
	whole := latest.Merge(base, own)
	if fetching {
		return e.complete(stage, whole)
	}
	s, err := e.Stage(stage, e.state, e.Fetch.with(own.Ignition))
	if err != nil {
		return err
	}
	return s.Run(ctx, whole)
}

// complete is all there is to a fetch stage: the config is kept already.
func (e *engine) complete(stage string, whole types.Config) error {
	if stage == "fetch-offline" && NeedsNet(whole) {
		return ErrNeedNet
	}
	e.Log.Info("config complete", "kept", e.Cache)
	return nil
}

// config is fetched by the fetch stages, and what they kept for others.
func (e *engine) config(ctx context.Context, base types.Config, fetching bool) (types.Config, error) {
	if fetching {
		return e.acquire(ctx, base)
	}
	raw, err := os.ReadFile(e.Cache)
	if errors.Is(err, fs.ErrNotExist) {
		return types.Config{}, fmt.Errorf("config of the fetch stage: %w; run that first", err)
	}
	if err != nil {
		return types.Config{}, fmt.Errorf("config of the fetch stage: %w", err)
	}
	var c types.Config
	if err := json.Unmarshal(raw, &c); err != nil {
		return types.Config{}, fmt.Errorf("config of the fetch stage in %s: %w", e.Cache, err)
	}
	return c, nil
}

func (e *engine) signal() error {
	if err := os.MkdirAll(filepath.Dir(e.NeedNet), 0o755); err != nil {
		return err
	}
	return atomicfile.WriteFile(e.NeedNet, nil, 0o644)
}

// offline refuses what only the network has.
func offline(fetch SettingsFetch) SettingsFetch {
	return func(ctx context.Context, settings types.Ignition, r types.Resource, w io.Writer) error {
		if remote(r) {
			return ErrNeedNet
		}
		return fetch(ctx, settings, r, w)
	}
}
