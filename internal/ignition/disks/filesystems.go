package disks

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
	"golang.org/x/sync/errgroup"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/probe"
)

// ErrOther says that a device has what the config neither wants nor allows to
// be wiped.
var ErrOther = errors.New("has something else, and a wipe was not asked for")

func (s *stage) filesystems(ctx context.Context, c types.Config) error {
	list := c.Storage.Filesystems
	for i, f := range list {
		if err := s.await(ctx, f.Device); err != nil {
			return ignition.At(err, "$.storage.filesystems[%d]", i)
		}
	}
	errs := make([]error, len(list))
	var work errgroup.Group
	work.SetLimit(runtime.GOMAXPROCS(0))
	for i, f := range list {
		work.Go(func() error {
			if err := s.filesystem(ctx, f); err != nil {
				errs[i] = ignition.At(fmt.Errorf("filesystem on %s: %w", f.Device, err), "$.storage.filesystems[%d]", i)
			}
			return nil
		})
	}
	return errors.Join(work.Wait(), errors.Join(errs...))
}

func (s *stage) filesystem(ctx context.Context, f types.Filesystem) error {
	if f.Format == nil {
		return nil
	}
	mkfs, err := mkfsCommand(f)
	if err != nil {
		return err
	}
	dev := s.alias(f.Device)
	found, err := s.look(dev)
	if err != nil {
		return err
	}
	if kept, err := KeepsFilesystem(f, found); kept || err != nil {
		s.Log.Info("filesystem is looked at", "device", f.Device, "type", found.Type, "kept", kept)
		return err
	}
	if err := wipeDevice(dev); err != nil {
		return fmt.Errorf("wipe: %w", err)
	}
	if mkfs.Name == "" {
		return nil
	}
	mkfs.Args = append(mkfs.Args, dev)
	_, err = s.Exec(ctx, mkfs)
	return err
}

// KeepsFilesystem says whether what a device has is what the config wants. It
// is ErrOther where neither that nor a wipe is allowed.
func KeepsFilesystem(f types.Filesystem, found probe.Found) (bool, error) {
	switch {
	case isTrue(f.WipeFilesystem):
		return false, nil
	case fits(f, found):
		return true, nil
	case found.Type != "":
		return false, fmt.Errorf("%w: %s, label %q, UUID %s", ErrOther, found.Type, found.Label, found.UUID)
	}
	return false, nil
}

// look tells what a device has: of several signatures the first, with a
// warning, as upstream does.
func (s *stage) look(dev string) (probe.Found, error) {
	found, err := probeDevice(dev)
	if errors.Is(err, probe.ErrAmbivalent) {
		s.Log.Warn("several signatures", "device", dev, "found", err)
		return found, nil
	}
	return found, err
}

func fits(f types.Filesystem, found probe.Found) bool {
	format := *f.Format
	if format == "none" {
		format = ""
	}
	return found.Type == format && (f.Label == nil || *f.Label == found.Label) &&
		(f.UUID == nil || plainUUID(format, *f.UUID) == plainUUID(format, found.UUID))
}

// plainUUID takes the dash out of a FAT volume's number, which mkfs.fat
// does not want.
func plainUUID(format, uuid string) string {
	uuid = strings.ToLower(uuid)
	if format == "vfat" && len(uuid) > 4 && uuid[4] == '-' {
		return uuid[:4] + uuid[5:]
	}
	return uuid
}

// makers are the programs with their words for force, UUID and label. What the
// config adds comes first, as upstream has it.
var makers = map[string]struct {
	program, force, uuid, label string
}{
	"btrfs": {"mkfs.btrfs", "--force", "-U", "-L"},
	"ext4":  {"mkfs.ext4", "-F", "-U", "-L"},
	"xfs":   {"mkfs.xfs", "-f", "-m", "-L"},
	"swap":  {"mkswap", "-f", "-U", "-L"},
	"vfat":  {"mkfs.fat", "", "-i", "-n"},
	"none":  {},
	"":      {},
}

func mkfsCommand(f types.Filesystem) (Command, error) {
	m, ok := makers[*f.Format]
	if !ok {
		return Command{}, fmt.Errorf("format %q: want ext4, xfs, btrfs, vfat, swap or none", *f.Format)
	}
	c := Command{Name: m.program}
	for _, o := range f.Options {
		c.Args = append(c.Args, string(o))
	}
	if m.force != "" {
		c.Args = append(c.Args, m.force)
	}
	if f.UUID != nil {
		id := plainUUID(*f.Format, *f.UUID)
		if *f.Format == "xfs" {
			id = "uuid=" + id
		}
		c.Args = append(c.Args, m.uuid, id)
	}
	if f.Label != nil {
		c.Args = append(c.Args, m.label, *f.Label)
	}
	return c, nil
}
