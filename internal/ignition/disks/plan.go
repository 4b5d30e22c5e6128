package disks

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/boot/gpt"
	"holdfast/internal/boot/guid"
)

// A planner makes of a disk's table the one that a config wants, by the rules
// of upstream's operator notes, "Partition Reuse Semantics".
type planner struct {
	table *gpt.Table
	rand  io.Reader
	used  map[int]bool // partitions that must not be touched
	log   *slog.Logger
}

// A wish is a partition of the config with its bytes worked out: nil where
// anything goes.
type wish struct {
	types.Partition
	start, size *int64
}

func newWish(p types.Partition) wish {
	bytes := func(mib *int) *int64 {
		if mib == nil {
			return nil
		}
		n := int64(*mib) << 20
		return &n
	}
	return wish{p, bytes(p.StartMiB), bytes(p.SizeMiB)}
}

// adopt gives numbers to partitions without one that an earlier run has made:
// those of the same label that nothing else of the config names.
func (p planner) adopt(list []types.Partition) []types.Partition {
	claimed := map[int]bool{}
	for _, part := range list {
		claimed[part.Number] = true
	}
	for i, part := range list {
		if part.Number != 0 || isEmpty(part.Label) {
			continue
		}
		for _, e := range p.table.Partitions {
			w := newWish(part)
			w.fill(e)
			if !claimed[e.Number] && w.differs(e, true) == nil {
				list[i].Number, claimed[e.Number] = e.Number, true
				break
			}
		}
	}
	return list
}

func (w wish) wanted() bool { return !isFalse(w.ShouldExist) }
func (w wish) wipe() bool   { return isTrue(w.WipePartitionEntry) }

// plan gives the new table, and the numbers of partitions that were not there
// as they are: nil if nothing changes.
func (p planner) plan(list []types.Partition) (*gpt.Table, []int, error) {
	wishes, err := p.resolve(p.adopt(zerosLast(list)))
	if err != nil {
		return nil, nil, err
	}
	var remove []int
	var create []gpt.Entry
	for _, w := range wishes {
		entry, drop, err := p.decide(w)
		if err != nil {
			return nil, nil, err
		}
		if p.used[w.Number] && (entry != nil || drop) {
			return nil, nil, fmt.Errorf("partition %d is in use and would have to change", w.Number)
		}
		if drop {
			remove = append(remove, w.Number)
		}
		if entry != nil {
			create = append(create, *entry)
		}
	}
	t, err := apply(p.table, remove, create)
	if err != nil || len(remove)+len(create) == 0 {
		return t, nil, err
	}
	created := []int{}
	for _, e := range t.Partitions {
		if old, ok := p.table.Lookup(e.Number); !ok || old.GUID != e.GUID {
			created = append(created, e.Number)
		}
	}
	return t, created, nil
}

// apply deletes everything before it creates anything.
func apply(table *gpt.Table, remove []int, create []gpt.Entry) (*gpt.Table, error) {
	t := table.Clone()
	for _, n := range remove {
		if err := t.Delete(n); err != nil {
			return nil, err
		}
	}
	for _, e := range create {
		if _, err := t.Create(e); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// resolve puts numbers for zeros: what start and size would be if all named
// partitions were deleted and created anew.
func (p planner) resolve(list []types.Partition) ([]wish, error) {
	var wishes []wish
	var remove []int
	var create []gpt.Entry
	for _, part := range list {
		w := newWish(part)
		wishes = append(wishes, w)
		if found, ok := p.table.Lookup(w.Number); ok {
			remove = append(remove, w.Number)
			if w.start == nil && !w.wipe() {
				w.start = &found.Start
			}
			if w.size == nil && !w.wipe() {
				w.size = &found.Size
			}
		}
		if w.wanted() {
			e, err := p.entry(w)
			if err != nil {
				return nil, err
			}
			create = append(create, e)
		}
	}
	t, err := apply(p.table, remove, create)
	if err != nil {
		return nil, err
	}
	for i := range wishes {
		if e, ok := t.Lookup(wishes[i].Number); ok {
			wishes[i].fill(e)
		}
	}
	return wishes, nil
}

// fill takes both places from an entry if one of them was asked for as zero.
func (w *wish) fill(e gpt.Entry) {
	isZero := func(n *int64) bool { return n != nil && *n == 0 }
	if !isZero(w.start) && !isZero(w.size) {
		return
	}
	if w.start != nil {
		w.start = &e.Start
	}
	if w.size != nil {
		w.size = &e.Size
	}
}

// decide is the table of the operator notes, line by line.
func (p planner) decide(w wish) (create *gpt.Entry, drop bool, err error) {
	found, exists := p.table.Lookup(w.Number)
	differs := w.differs(found, true)
	switch {
	case !exists && !w.wanted():
		return nil, false, nil
	case !exists:
		e, err := p.entry(w)
		return &e, false, err
	case !w.wanted() && !w.wipe():
		return nil, false, fmt.Errorf("partition %d exists and should not, and wipePartitionEntry is not set", w.Number)
	case !w.wanted():
		return nil, true, nil
	case differs == nil:
		p.log.Info("partition is as it should be", "partition", w.Number)
		return nil, false, nil
	case w.wipe():
		e, err := p.entry(w)
		return &e, true, err
	case isTrue(w.Resize) && w.differs(found, false) == nil:
		found.Size = *w.size
		return &found, true, nil
	}
	return nil, false, fmt.Errorf("partition %d: %w, and wipePartitionEntry is not set", w.Number, differs)
}

// differs names the first thing in which a partition is not what is wished.
func (w wish) differs(e gpt.Entry, withSize bool) error {
	switch {
	case w.start != nil && *w.start != e.Start:
		return fmt.Errorf("starts at byte %d instead of %d", e.Start, *w.start)
	case !isEmpty(w.GUID) && !strings.EqualFold(*w.GUID, e.GUID.String()):
		return fmt.Errorf("GUID is %s instead of %s", e.GUID, *w.GUID)
	case !isEmpty(w.TypeGUID) && !strings.EqualFold(*w.TypeGUID, e.Type.String()):
		return fmt.Errorf("type is %s instead of %s", e.Type, *w.TypeGUID)
	case w.Label != nil && *w.Label != e.Name:
		return fmt.Errorf("label is %q instead of %q", e.Name, *w.Label)
	case withSize && w.size != nil && *w.size != e.Size:
		return fmt.Errorf("has %d bytes instead of %d", e.Size, *w.size)
	}
	return nil
}

// entry has zeros where the table decides.
func (p planner) entry(w wish) (gpt.Entry, error) {
	e := gpt.Entry{Number: w.Number, Name: text(w.Label)}
	if w.start != nil {
		e.Start = *w.start
	}
	if w.size != nil {
		e.Size = *w.size
	}
	var err error
	if !isEmpty(w.TypeGUID) {
		if e.Type, err = guid.Parse(*w.TypeGUID); err != nil {
			return e, fmt.Errorf("partition %d: type: %w", w.Number, err)
		}
	}
	if isEmpty(w.GUID) {
		e.GUID, err = guid.New(p.rand)
	} else {
		e.GUID, err = guid.Parse(*w.GUID)
	}
	if err != nil {
		err = fmt.Errorf("partition %d: %w", w.Number, err)
	}
	return e, err
}
