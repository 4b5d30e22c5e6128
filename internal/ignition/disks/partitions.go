package disks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/boot/gpt"
	"holdfast/internal/boot/guid"
	"holdfast/internal/ignition"
	"holdfast/internal/ignition/probe"
)

func (s *stage) partitions(ctx context.Context, c types.Config) error {
	for i, d := range c.Storage.Disks {
		if err := s.await(ctx, d.Device); err != nil {
			return ignition.At(err, "$.storage.disks[%d]", i)
		}
	}
	for i, d := range c.Storage.Disks {
		if err := s.partition(d); err != nil {
			return ignition.At(fmt.Errorf("disk %s: %w", d.Device, err), "$.storage.disks[%d]", i)
		}
	}
	return nil
}

// partition decides everything on a copy of the table, and writes at the end. A
// disk that stays as it is is never open for writing: udev would look at it anew.
func (s *stage) partition(d types.Disk) error {
	dev, err := openDevice(s.alias(d.Device), os.O_RDONLY)
	if err != nil {
		return err
	}
	defer dev.Close()
	if err := dev.lock(); err != nil {
		return err
	}
	x, err := s.decide(dev, d)
	if err != nil || !x.wipe && !x.changed {
		return err
	}
	if err := s.write(s.alias(d.Device), dev, x); err != nil {
		return err
	}
	return s.note(s.alias(d.Device), x.created)
}

// write opens a disk once more, and does nothing to another one.
func (s *stage) write(disk string, looked *device, x decision) error {
	dev, err := openDevice(disk, os.O_RDWR)
	if err != nil {
		return err
	}
	defer dev.Close()
	if dev.number != looked.number || dev.size != looked.size {
		return errors.New("became another disk meanwhile")
	}
	s.release(dev.number)
	defer s.hold(dev)
	return x.commit(dev)
}

// A decision is what becomes of a disk's table. Without one before there was
// none; without one after there is none to write.
type decision struct {
	before, after *gpt.Table
	created       []int // partitions that were not there as they are
	used          use
	wipe, changed bool
}

// decide writes nothing.
func (s *stage) decide(dev *device, d types.Disk) (decision, error) {
	used, err := usage(dev)
	if err != nil {
		return decision{}, err
	}
	x := decision{used: used, wipe: isTrue(d.WipeTable)}
	switch {
	case used.whole:
		return x, errors.New("the whole disk is in use")
	case x.wipe && used.any():
		return x, errors.New("wipeTable is set, but partitions are in use")
	}
	table, isNew, err := s.loadTable(dev, x.wipe, len(d.Partitions) > 0)
	if err != nil || table == nil {
		return x, err
	}
	if !isNew {
		x.before = table
	}
	p := planner{table: table, rand: s.Rand, used: used.partitions, log: s.Log.With("disk", d.Device)}
	if x.after, x.created, err = p.plan(d.Partitions); err != nil {
		return x, err
	}
	x.changed = x.created != nil || !isNew && table.Damage.Err() != nil
	return x, nil
}

// note keeps which partitions are new, by the devices that they become.
func (s *stage) note(disk string, numbers []int) error {
	path, err := filepath.EvalSymlinks(disk)
	if err != nil {
		return err
	}
	if last := path[len(path)-1]; '0' <= last && last <= '9' {
		path += "p"
	}
	for _, n := range numbers {
		s.created[path+strconv.Itoa(n)] = true
	}
	return nil
}

// loadTable gives nil where there is none and none is needed. A disk that has
// no table but something else is not taken for empty.
func (s *stage) loadTable(dev *device, wipe, wanted bool) (_ *gpt.Table, isNew bool, err error) {
	if !wipe {
		t, err := gpt.Load(dev, dev.size, dev.sector)
		if err == nil {
			if damage := t.Damage.Err(); damage != nil {
				s.Log.Warn("partition table is damaged", "disk", dev.Name(), "damage", damage)
			}
			return t, false, nil
		}
		if !errors.Is(err, gpt.ErrNoTable) {
			return nil, false, fmt.Errorf("%w; wipeTable would replace it", err)
		}
	}
	if !wanted {
		return nil, false, nil
	}
	if err := s.isBlank(dev, wipe); err != nil {
		return nil, false, err
	}
	id, err := guid.New(s.Rand)
	if err != nil {
		return nil, false, err
	}
	t, err := gpt.New(dev.size, dev.sector, id)
	return t, true, err
}

func (s *stage) isBlank(dev *device, wipe bool) error {
	if wipe {
		return nil
	}
	found, err := probe.One(dev, dev.size)
	if found.Type != "" {
		return fmt.Errorf("there is no partition table, but %s on the whole disk; wipeTable would replace it", found.Type)
	}
	return err
}

func (x decision) commit(dev *device) error {
	if x.wipe {
		if err := gpt.Wipe(dev, dev.size, dev.sector); err != nil {
			return err
		}
	}
	table := &gpt.Table{}
	if x.after != nil {
		table = x.after
		if err := table.Save(dev); err != nil {
			return err
		}
	}
	if !dev.block {
		return nil
	}
	return table.Tell(dev.File, x.used.any())
}

// zerosLast puts partitions without a number behind the others.
func zerosLast(list []types.Partition) []types.Partition {
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b types.Partition) int {
		switch {
		case a.Number != 0 && b.Number == 0:
			return -1
		case a.Number == 0 && b.Number != 0:
			return 1
		}
		return 0
	})
	return sorted
}

func isTrue(b *bool) bool    { return b != nil && *b }
func isFalse(b *bool) bool   { return b != nil && !*b }
func isEmpty(s *string) bool { return s == nil || *s == "" }
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
