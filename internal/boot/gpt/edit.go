package gpt

import (
	"fmt"
	"slices"
	"unicode/utf16"

	"holdfast/internal/boot/guid"
)

// TypeLinux is the type of partitions that are given none.
var TypeLinux = guid.Must("0fc63daf-8483-4772-8e79-3d69d8477de4")

// largeDisk is how many sectors make sgdisk align to at least 8 of them.
const largeDisk = 585937500

// SectorSize of the disk in bytes.
func (t *Table) SectorSize() int64 { return t.disk.sector }

// Clone is a table to try something on.
func (t *Table) Clone() *Table {
	c := *t
	c.Partitions = slices.Clone(t.Partitions)
	return &c
}

// Lookup finds a partition by its number.
func (t *Table) Lookup(number int) (Entry, bool) {
	i := slices.IndexFunc(t.Partitions, func(e Entry) bool { return e.Number == number })
	if i < 0 {
		return Entry{}, false
	}
	return t.Partitions[i], true
}

// Delete takes a partition off the table.
func (t *Table) Delete(number int) error {
	n := len(t.Partitions)
	t.Partitions = slices.DeleteFunc(t.Partitions, func(e Entry) bool { return e.Number == number })
	if len(t.Partitions) == n {
		return fmt.Errorf("partition %d: no such partition", number)
	}
	return nil
}

// Create adds a partition where sgdisk --new would: number 0 is the next free
// one, start 0 the start of the largest free block (and not of the first that
// is large enough), size 0 reaches to that block's end. A start that is not
// aligned is moved, to an earlier sector if that is free. What the entry does
// not name is filled in: a Linux type, but no GUID, which is the caller's.
func (t *Table) Create(e Entry) (Entry, error) {
	if e.Number == 0 {
		e.Number = t.freeNumber()
	}
	if err := t.checkNew(e); err != nil {
		return e, err
	}
	start, end := t.place(e)
	if !t.isFree(start, end) || start > end {
		return e, fmt.Errorf("partition %d: sectors %d to %d are not free: usable are %d to %d, the largest free block starts at %d",
			e.Number, start, end, t.disk.first, t.disk.last, t.largest())
	}
	e.Start, e.Size = start*t.disk.sector, (end-start+1)*t.disk.sector
	if e.Type == (guid.GUID{}) {
		e.Type = TypeLinux
	}
	t.Partitions = append(t.Partitions, e)
	slices.SortFunc(t.Partitions, func(a, b Entry) int { return a.Number - b.Number })
	return e, nil
}

func (t *Table) checkNew(e Entry) error {
	_, taken := t.Lookup(e.Number)
	switch {
	case e.Number < 1 || e.Number > t.disk.count:
		return fmt.Errorf("partition %d: the table has numbers 1 to %d", e.Number, t.disk.count)
	case taken:
		return fmt.Errorf("partition %d: exists", e.Number)
	case e.GUID == guid.GUID{}:
		return fmt.Errorf("partition %d: no GUID", e.Number)
	case len(utf16.Encode([]rune(e.Name))) > nameUnits:
		return fmt.Errorf("partition %d: name is longer than %d units", e.Number, nameUnits)
	case e.Start < 0 || e.Size < 0 || e.Start%t.disk.sector != 0 || e.Size%t.disk.sector != 0:
		return fmt.Errorf("partition %d: %d bytes at %d on a disk with sectors of %d", e.Number, e.Size, e.Start, t.disk.sector)
	}
	return nil
}

// place gives the first and last sector.
func (t *Table) place(e Entry) (start, end int64) {
	low := t.aligned(t.largest())
	high := t.lastFree(low)
	if start = e.Start / t.disk.sector; start == 0 {
		start = low
	}
	if end = high; e.Size != 0 {
		end = start + e.Size/t.disk.sector - 1
	}
	return t.aligned(start), end
}

func (t *Table) freeNumber() int {
	n := 1
	for _, e := range t.Partitions {
		if e.Number == n {
			n++
		}
	}
	return n
}

// isFree says that no partition and nothing of the table is in the sectors.
func (t *Table) isFree(first, last int64) bool {
	for _, e := range t.Partitions {
		if first*t.disk.sector < e.End() && e.Start < (last+1)*t.disk.sector {
			return false
		}
	}
	return first >= t.disk.first && last <= t.disk.last
}

// aligned moves a sector to a boundary if what is between is free.
func (t *Table) aligned(at int64) int64 {
	earlier := at / t.disk.align * t.disk.align
	later := earlier + t.disk.align
	switch {
	case earlier == at:
		return at
	case earlier >= t.disk.first && t.isFree(earlier, at-1):
		return earlier
	case later <= t.disk.last && t.isFree(at+1, later):
		return later
	}
	return at
}

// firstFree is the first free sector from at on, or 0.
func (t *Table) firstFree(at int64) int64 {
	at = max(at, t.disk.first)
	for moved := true; moved; {
		moved = false
		for _, e := range t.Partitions {
			if first, end := e.Start/t.disk.sector, e.End()/t.disk.sector; at >= first && at < end {
				at, moved = end, true
			}
		}
	}
	if at > t.disk.last {
		return 0
	}
	return at
}

func (t *Table) lastFree(at int64) int64 {
	end := t.disk.last
	for _, e := range t.Partitions {
		if first := e.Start / t.disk.sector; first > at && first <= end {
			end = first - 1
		}
	}
	return end
}

// largest is where the largest free block starts, or 0.
func (t *Table) largest() int64 {
	var best, size int64
	for at := t.firstFree(0); at != 0; {
		end := t.lastFree(at)
		if end-at+1 > size {
			best, size = at, end-at+1
		}
		at = t.firstFree(end + 1)
	}
	return best
}

// alignment is what all partitions keep to, at most Align.
func (t *Table) alignment() int64 {
	align := int64(Align) / t.disk.sector
	for _, e := range t.Partitions {
		for e.Start/t.disk.sector%align != 0 {
			align /= 2
		}
	}
	if t.disk.sectors >= largeDisk {
		align = max(align, 8)
	}
	return align
}

// check says what makes a table that nobody should rely on.
func (t *Table) check() error {
	order := slices.Clone(t.Partitions)
	slices.SortFunc(order, func(a, b Entry) int { return int(min(max(a.Start-b.Start, -1), 1)) })
	at, before := t.disk.first*t.disk.sector, 0
	for _, e := range order {
		if e.Start < at {
			return fmt.Errorf("%w: partition %d starts at byte %d, before the end of %s at %d", ErrDamaged, e.Number, e.Start, what(before), at)
		}
		at, before = e.End(), e.Number
	}
	if at > (t.disk.last+1)*t.disk.sector {
		return fmt.Errorf("%w: partition %d ends at byte %d, behind the last usable one", ErrDamaged, before, at)
	}
	return nil
}

func what(partition int) string {
	if partition == 0 {
		return "the table"
	}
	return fmt.Sprintf("partition %d", partition)
}
