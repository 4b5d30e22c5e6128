// Package plan says what the engine would do to a root folder or a disk, and
// does nothing to it.
//
// Files are planned by the engine's own stage: it runs on a layer over the
// root, which is compared with what is below and thrown away. Disks are planned
// by the rules that the disks stage decides by.
package plan

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/able"
	"holdfast/internal/ignition/spec"
)

// An Action is what would become of something.
type Action string

// Actions. What is unknown can't be told from here.
const (
	Create  Action = "create"
	Update  Action = "change"
	Resize  Action = "resize"
	Delete  Action = "delete"
	Keep    Action = "keep"
	Refuse  Action = "refuse"
	Unknown Action = "unknown"
)

// A Change is what would become of one thing.
type Change struct {
	Action Action `json:"action"`
	Kind   string `json:"kind"` // as table, partition, filesystem, user, file
	Name   string `json:"name"`
	Field  string `json:"field,omitempty"` // of the config: RFC 9535
	Why    string `json:"why,omitempty"`   // never a value that may be a secret
}

// A Plan is in the order in which the engine works.
type Plan struct {
	Changes []Change `json:"changes"`
}

// Has says whether an action is among the changes.
func (p *Plan) Has(actions ...Action) bool {
	return slices.ContainsFunc(p.Changes, func(c Change) bool { return slices.Contains(actions, c.Action) })
}

// IsChange says whether the engine would change anything.
func (p *Plan) IsChange() bool { return p.Has(Create, Update, Resize, Delete) }

func (p *Plan) add(c ...Change) { p.Changes = append(p.Changes, c...) }

// refuse takes the field of the config from the error.
func (p *Plan) refuse(kind, name, field string, err error) {
	var at *ignition.Error
	if errors.As(err, &at) {
		field, err = at.Path, at.Err
	}
	p.add(Change{Refuse, kind, name, field, err.Error()})
}

// Config is what a plan is made of.
type Config struct {
	Root string // folder that files go to; "": files are not planned
	// Disks are images, or block devices, by the names that the config has for
	// them; those of others are unknown.
	Disks map[string]string
	// CommandLine is the kernel's of the machine, "" when unknown.
	CommandLine  string
	KeyFragments bool // as the files stage's
	Fetch        ignition.Fetch
	Now          func() time.Time
	Log          *slog.Logger
}

// Make plans a whole config. An error is one of looking; what the engine would
// refuse is in the plan.
func Make(ctx context.Context, c types.Config, conf Config) (*Plan, error) {
	if conf.Log == nil {
		conf.Log = slog.New(slog.DiscardHandler)
	}
	p := &Plan{Changes: []Change{}}
	for _, r := range able.Refusals(c) {
		p.refuse("stage", "fetch", spec.Path(r.Path), r)
	}
	if p.Has(Refuse) {
		return p, nil // the engine gets no further
	}
	p.kernelArguments(c, conf.CommandLine)
	newStorage(conf, p).plan(c)
	if conf.Root != "" {
		if err := p.files(ctx, c, conf); err != nil {
			return nil, err
		}
	}
	return p, nil
}
