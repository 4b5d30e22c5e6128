// Package files is the stage that writes what a config puts into a root:
// users and groups, directories, files and links, systemd units.
//
// What it leaves is what upstream's engine would: the same bytes, modes and
// owners. No path and no link leads out of the root.
package files

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/accounts"
	"holdfast/internal/ignition/rooted"
)

// Config is what the stage works with.
type Config struct {
	Root  string
	State *ignition.State
	Fetch ignition.Fetch
	// KeyFragments puts authorized keys into .ssh/authorized_keys.d/ignition
	// instead of .ssh/authorized_keys.
	KeyFragments bool
	// Resolve finds a device; the default opens it by its own name.
	Resolve func(string) (string, error)
	BootID  string           // of the kernel, for the record of the run
	Now     func() time.Time // the default is the clock
	Log     *slog.Logger
}

// New is the stage; it does nothing until it runs.
func New(c Config) ignition.Stage {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Resolve == nil {
		c.Resolve = func(dev string) (string, error) { return dev, nil }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return &stage{Config: c}
}

type stage struct {
	Config
	early *early
	dir   *rooted.Dir
	db    *accounts.Database
	cut   bool // the run before was
	bare  bool // there was no /etc for the mark of this one
}

// Name is how the command line calls it.
func (*stage) Name() string { return "files" }

// Run applies them in upstream's order: users first, whose names owners are
// given by, and the record of the run last.
func (s *stage) Run(ctx context.Context, c types.Config) (err error) {
	dir, err := rooted.Open(s.Root)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	s.dir, s.db = dir, accounts.New(accounts.Config{Dir: dir, Now: s.Now})
	if len(c.Storage.Files) > 0 { // of all else nothing is there in part
		if err := s.begin(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.end()) }()
	}
	for _, part := range []func(context.Context, types.Config) error{
		s.groups, s.users, s.nodes, s.units, s.crypttab, s.provided, s.result,
	} {
		if err := part(ctx, c); err != nil {
			return err
		}
	}
	return nil
}
