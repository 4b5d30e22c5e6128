// Package report tells how a machine's provisioning went: to who watches the
// console, to a URL, and to the next boot.
//
// A report names stages, fields and sources of a config, and never a value: its
// reasons are the engine's errors, which hold none.
package report

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
	"slices"
	"strings"
	"time"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/atomicfile"
	"holdfast/internal/ignition"
	"holdfast/internal/ignition/rooted"
	"holdfast/internal/input"
)

// Version of the form: docs/formats/ignition-report.md.
const Version = 1

// What a run, or a stage, may have come to.
const (
	Running = "running" // stages are still to come
	Done    = "done"
	Failed  = "failed"
)

// A Report is of one boot.
type Report struct {
	Version  int       `json:"version"`
	Status   string    `json:"status"`
	Engine   string    `json:"engine"`
	Platform string    `json:"platform"`
	Machine  string    `json:"machine,omitempty"` // UUID of SMBIOS
	Boot     string    `json:"boot,omitempty"`    // the kernel's ID of the boot
	Stages   []Stage   `json:"stages"`
	Failure  *Failure  `json:"failure,omitempty"`
	Configs  []Config  `json:"configs"`
	Previous *Previous `json:"previous,omitempty"` // the run before, as it was kept
}

// A Stage that ran.
type Stage struct {
	Name    string    `json:"name"`
	Status  string    `json:"status"`
	Started time.Time `json:"started"`
	Millis  int64     `json:"milliseconds"`
}

// A Failure is why a run ended.
type Failure struct {
	Stage  string `json:"stage"`
	Path   string `json:"path,omitempty"` // RFC 9535, where it is about a field
	Reason string `json:"reason"`
}

// A Config that was used: base or user.
type Config struct {
	Kind       string `json:"kind"`
	Source     string `json:"source"` // a name, or a URL without its user and query
	Referenced bool   `json:"referenced"`
}

// Previous is what is told of the run before.
type Previous struct {
	Status  string    `json:"status"`
	Boot    string    `json:"boot,omitempty"`
	Ended   time.Time `json:"ended"`
	Failure *Failure  `json:"failure,omitempty"`
}

// A Keeper takes how stages ended, and tells it. Nothing that goes wrong with
// that is more than a warning: the run counts.
type Keeper struct {
	File string // of this boot: each stage adds to it
	// Keep is the path below Root of the file for later boots; "": none is kept.
	Root, Keep string
	Console    io.Writer // one line at the end; nil: nobody watches
	// Post sends a report; nil when nobody is to be told.
	Post func(ctx context.Context, settings types.Ignition, body []byte) error

	// Before is how the run before ended, where something else than the root kept
	// that; nil: nothing did.
	Before *Previous

	Engine, Platform, Machine, Boot string
	Now                             func() time.Time
	Log                             *slog.Logger
}

// last is the stage after which a root is as the config says.
const last = "files"

// rooted stages have the root that a report is kept in.
var rootedStages = []string{"files", "umount"}

const (
	maxReport = 1 << 20
	maxStages = 64 // of a boot in which stages are run again and again
	postTime  = 20 * time.Second
)

// Take is for ignition.Config.Report.
func (k Keeper) Take(ctx context.Context, o ignition.Outcome) {
	r := k.load()
	k.add(&r, o)
	ended := r.Status == Failed || o.Stage == last
	if k.Keep != "" && (o.Stage == last || r.Status == Failed && slices.Contains(rootedStages, o.Stage)) {
		k.warn("the report is not kept for later boots", k.keep(&r))
	}
	raw, err := marshal(r)
	if err == nil {
		err = k.save(raw)
	}
	k.warn("the report is not kept for later stages", err)
	if !ended {
		return
	}
	k.console(r)
	if k.Post != nil {
		ctx, cancel := context.WithTimeoutCause(ctx, postTime, fmt.Errorf("no answer in %v", postTime))
		defer cancel()
		k.warn("the report is not sent", k.Post(ctx, o.Settings, raw))
	}
}

func (k Keeper) warn(what string, err error) {
	if err != nil {
		k.Log.Warn(what, "because", err)
	}
}

// load gives the report of the stages before in this boot.
func (k Keeper) load() Report {
	fresh := Report{Version: Version, Status: Running, Engine: k.Engine, Platform: k.Platform, Machine: k.Machine, Boot: k.Boot,
		Stages: []Stage{}, Configs: []Config{}, Previous: k.Before}
	raw, err := input.ReadFile(k.File, maxReport)
	if errors.Is(err, fs.ErrNotExist) {
		return fresh
	}
	var r Report
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if err != nil || r.Version != Version || r.Boot != k.Boot {
		k.warn("the report of stages before is not read", err)
		return fresh
	}
	return r
}

func (k Keeper) add(r *Report, o ignition.Outcome) {
	s := Stage{Name: o.Stage, Status: Done, Started: o.Started.UTC().Truncate(time.Millisecond), Millis: k.Now().Sub(o.Started).Milliseconds()}
	r.Failure, r.Status = nil, Running
	if o.Err != nil {
		s.Status, r.Status = Failed, Failed
		r.Failure = FailureOf(o)
	} else if o.Stage == last || o.Stage == "umount" {
		r.Status = Done
	}
	r.Stages = append(r.Stages, s)
	r.Stages = r.Stages[max(0, len(r.Stages)-maxStages):]
	if len(o.Configs) > 0 {
		r.Configs = nil
	}
	for _, c := range o.Configs {
		if found := (Config{c.Kind, c.Source, c.Referenced}); !slices.Contains(r.Configs, found) {
			r.Configs = append(r.Configs, found)
		}
	}
}

// FailureOf takes the stage's name off the reason, and gives its field.
func FailureOf(o ignition.Outcome) *Failure {
	reason := strings.TrimPrefix(o.Err.Error(), "stage "+o.Stage+": ")
	f := &Failure{Stage: o.Stage, Reason: reason}
	if at := (*ignition.Error)(nil); errors.As(o.Err, &at) {
		f.Path = at.Path
	}
	return f
}

func (k Keeper) save(raw []byte) error {
	if err := os.MkdirAll(filepath.Dir(k.File), 0o755); err != nil {
		return err
	}
	return atomicfile.WriteFile(k.File, raw, 0o600)
}

// keep writes the report into the root, and what that had of the run before
// into the report.
func (k Keeper) keep(r *Report) error {
	dir, err := rooted.Open(k.Root)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	at, err := dir.Follow(k.Keep)
	if err != nil {
		return err
	}
	if before := previous(dir, at); k.Before == nil && before != nil && before.Boot != k.Boot {
		r.Previous = before
		if before.Failure != nil {
			k.Log.Warn("the run before failed", "stage", before.Failure.Stage, "because", before.Failure.Reason)
		}
	}
	raw, err := marshal(*r)
	if err != nil {
		return err
	}
	if err := dir.Parents(at); err != nil {
		return err
	}
	beside := at + ".new"
	if err := dir.WriteFile(beside, raw, 0o600); err != nil {
		return err
	}
	return dir.Rename(beside, at)
}

// previous is nil where nothing was kept that can be read.
func previous(dir *rooted.Dir, at string) *Previous {
	raw, err := dir.ReadFile(at)
	var r Report
	if err != nil || len(raw) > maxReport || json.Unmarshal(raw, &r) != nil || len(r.Stages) == 0 {
		return nil
	}
	s := r.Stages[len(r.Stages)-1]
	return &Previous{Status: r.Status, Boot: r.Boot, Ended: s.Started.Add(time.Duration(s.Millis) * time.Millisecond), Failure: r.Failure}
}

// console is the one line for who watches, whatever a reason holds.
func (k Keeper) console(r Report) {
	if k.Console == nil {
		return
	}
	text := "provisioned from platform " + r.Platform
	if f := r.Failure; f != nil {
		text = "provisioning failed: stage " + f.Stage + ": " + f.Reason
	}
	_, err := fmt.Fprintf(k.Console, "ignition: %s\n", Plain(text))
	k.warn("the console takes no line", err)
}

// Plain is a line for a console, whatever a reason holds.
func Plain(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, text)
}

func marshal(r Report) ([]byte, error) {
	raw, err := json.MarshalIndent(r, "", "  ")
	return append(raw, '\n'), err
}
