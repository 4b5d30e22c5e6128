package gpt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"holdfast/internal/boot/guid"
)

// Damage says which parts of a table Load could not use, and why.
type Damage struct{ MBR, Primary, Backup error }

// Err is nil for a table without damage.
func (d Damage) Err() error {
	var list []error
	for _, part := range []struct {
		name string
		err  error
	}{{"protective MBR", d.MBR}, {"primary table", d.Primary}, {"backup table", d.Backup}} {
		if part.err != nil {
			list = append(list, fmt.Errorf("%s: %w", part.name, part.err))
		}
	}
	return errors.Join(list...)
}

var (
	// ErrOtherTable says that a disk is partitioned otherwise than by a GPT.
	ErrOtherTable = errors.New("disk has an MBR with partitions of its own")
	// ErrDamaged says that neither copy of a table can be relied on.
	ErrDamaged = errors.New("partition table is damaged")
)

// New is the empty table of a disk of size bytes.
func New(size, sector int64, id guid.GUID) (*Table, error) {
	if err := checkSector(sector); err != nil {
		return nil, err
	}
	d := newDisk(size, sector)
	if d.sectors <= 2*d.arrayLBAs()+3 {
		return nil, fmt.Errorf("%d sectors of %d bytes are too few for a partition table", d.sectors, sector)
	}
	return &Table{GUID: id, disk: d}, nil
}

func checkSector(sector int64) error {
	if sector < 512 || sector > 4096 || bits.OnesCount64(uint64(sector)) != 1 {
		return fmt.Errorf("sectors of %d bytes: want 512 to 4096, a power of two", sector)
	}
	return nil
}

// Load reads the table of a disk of size bytes, edited or not by others.
// Where one of the two copies is damaged the other is used, and Damage tells
// which. A disk whose MBR has partitions of another kind gives ErrOtherTable,
// one on which neither copy was ever written ErrNoTable, and one on which
// only remains can be found ErrDamaged.
func Load(r io.ReaderAt, size, sector int64) (*Table, error) {
	if err := checkSector(sector); err != nil {
		return nil, err
	}
	d := newDisk(size, sector)
	mbr := make([]byte, SectorSize)
	if _, err := r.ReadAt(mbr, 0); err != nil {
		return nil, fmt.Errorf("first sector: %w", err)
	}
	primary, perr := d.load(r, 1)
	at := d.sectors - 1
	if perr == nil && int64(primary.Other) > 1 && int64(primary.Other) < at {
		at = int64(primary.Other) // the disk has grown since
	}
	backup, berr := d.load(r, at)
	kind := kindOf(mbr)
	switch {
	case kind == otherMBR:
		return nil, ErrOtherTable
	case errors.Is(perr, ErrNoTable) && errors.Is(berr, ErrNoTable) && kind == noMBR:
		return nil, ErrNoTable
	case perr != nil && (berr != nil || kind == noMBR):
		return nil, fmt.Errorf("%w: %v", ErrDamaged, Damage{mbrError(kind), perr, berr}.Err())
	}
	t := &Table{mbr: mbr, disk: d, Damage: Damage{mbrError(kind), perr, berr}}
	if perr != nil {
		primary = backup
	} else if berr == nil && !alike(primary, backup) {
		t.Damage.Backup = errors.New("differs from the primary")
	}
	return t, t.adopt(primary, perr != nil)
}

func alike(a, b copied) bool {
	return a.Disk == b.Disk && a.First == b.First && a.Last == b.Last && bytes.Equal(a.array, b.array)
}

// load is read, with the checks that an editor of the table needs.
func (d disk) load(r io.ReaderAt, at int64) (copied, error) {
	c, err := d.read(r, at)
	if err != nil {
		return c, err
	}
	d.count = int(c.Count)
	lbas, entries := uint64(d.arrayLBAs()), c.Entries
	switch {
	case d.count == 0 || c.First > c.Last || c.Last >= uint64(d.sectors):
		return c, fmt.Errorf("%d entries, usable sectors %d to %d on a disk of %d", d.count, c.First, c.Last, d.sectors)
	case at == 1 && (entries < 2 || entries+lbas > c.First):
		return c, fmt.Errorf("entries at %d reach into usable sectors from %d", entries, c.First)
	case at != 1 && (entries <= c.Last || entries+lbas > uint64(at)):
		return c, fmt.Errorf("entries at %d between usable sector %d and header %d", entries, c.Last, at)
	}
	return c, nil
}

func (t *Table) adopt(c copied, fromBackup bool) error {
	d := &t.disk
	t.GUID, d.count = guid.FromEFI(c.Disk), int(c.Count)
	d.first, d.last = int64(c.First), int64(c.Last)
	d.backup, d.array = int64(c.Other), int64(c.Entries)
	if fromBackup {
		d.backup, d.array = int64(c.Self), 2
	}
	var err error
	if t.Partitions, err = parseEntries(c.array, d.sector, d.sectors); err != nil {
		return err
	}
	d.align = t.alignment()
	return t.check()
}

// Kinds of MBR: table 5-3 for the protective one; a hybrid has other
// partitions beside that.
const (
	noMBR = iota
	protective
	hybrid
	otherMBR
)

func kindOf(mbr []byte) int {
	if mbr[510] != 0x55 || mbr[511] != 0xaa {
		return noMBR
	}
	ours, others := 0, 0
	for i := 446; i < 510; i += 16 {
		switch kind := mbr[i+4]; {
		case kind == 0xee:
			ours++
		case kind != 0 && mbr[i]&0x7f == 0: // else no partition: some filesystem's boot sector
			others++
		}
	}
	switch {
	case ours > 0 && others > 0:
		return hybrid
	case ours > 0:
		return protective
	case others > 0:
		return otherMBR
	}
	return noMBR
}

func mbrError(kind int) error {
	if kind == noMBR {
		return errors.New("is missing")
	}
	return nil
}
