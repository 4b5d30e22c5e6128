// Package disks is the stage that gives a machine its partitions, RAID
// arrays, encrypted volumes and filesystems.
//
// Partition tables and signatures are read and written by our own code;
// programs run only for what owns its format: mkfs, mdadm, cryptsetup. What is
// as the config wants it is left alone, and what is otherwise is changed only
// where the config says wipe: a refusal comes before the first write.
package disks

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/able"
)

// Config is what the stage works with. Useful without State, Fetch and Bind
// where the config has no encrypted volumes.
type Config struct {
	State *ignition.State
	Fetch ignition.Fetch
	// Bind seals a volume's passphrase for clevis; nil where there is no TPM.
	Bind Binder
	// Pin is what volumes are bound to whose config says only that they are, as
	// clevis writes it; the default is the TPM alone, in any state.
	Pin json.RawMessage
	// Mark is written on the volumes that are bound; nil: none is.
	Mark *Mark
	// Exec runs programs; the default takes them from PATH.
	Exec Runner
	// Aliases is the folder of links to devices, /run/ignition/dev_aliases
	// when empty.
	Aliases string
	// Wait is how long a device may take to appear, 90 s when zero.
	Wait time.Duration
	Rand io.Reader // of GUIDs and keys
	Log  *slog.Logger
}

// New is the stage; it does nothing until it runs.
func New(c Config) ignition.Stage {
	if c.Exec == nil {
		c.Exec = Program
	}
	if c.Aliases == "" {
		c.Aliases = "/run/ignition/dev_aliases"
	}
	if c.Wait == 0 {
		c.Wait = 90 * time.Second
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.State == nil {
		c.State = &ignition.State{}
	}
	return &stage{Config: c, created: map[string]bool{}, held: map[uint64]io.Closer{}}
}

type stage struct {
	Config
	created map[string]bool      // devices of partitions that this run made
	held    map[uint64]io.Closer // a partition of each disk that this run wrote
}

// Name is how the command line calls it.
func (*stage) Name() string { return "disks" }

// Run applies the storage section, each part on what the one before made.
// Whatever can be refused by looking at the config is refused first.
func (s *stage) Run(ctx context.Context, c types.Config) error {
	if err := s.check(c); err != nil {
		return err
	}
	defer func() {
		for disk := range s.held {
			s.release(disk)
		}
	}()
	for _, part := range []func(context.Context, types.Config) error{s.partitions, s.raids, s.volumes, s.filesystems} {
		if err := part(ctx, c); err != nil {
			return err
		}
	}
	s.settle(ctx, c.Storage)
	return nil
}

// check refuses what this engine cannot do, before anything is done.
func (s *stage) check(c types.Config) error {
	if err := able.Check(c); err != nil {
		return err
	}
	for i, l := range c.Storage.Luks {
		if err := checkVolume(l, s.Bind != nil); err != nil {
			return ignition.At(fmt.Errorf("volume %s: %w", l.Name, err), "$.storage.luks[%d]", i)
		}
	}
	return nil
}
