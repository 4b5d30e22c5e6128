package gpt

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

// A Target is a disk or an image of one.
type Target interface {
	io.WriterAt
	Sync() error
}

// Save writes the table so that a power cut leaves the old one or the new
// one: the backup first, and when that is on the disk the primary. A backup
// that is not at the disk's end, since the disk has grown, moves there.
func (t *Table) Save(w Target) error {
	t.toEnd()
	if err := t.check(); err != nil {
		return err
	}
	if err := t.write(w, w.Sync); err != nil {
		return err
	}
	return w.Sync()
}

func (t *Table) toEnd() {
	d := &t.disk
	if d.backup == d.sectors-1 && d.last < d.backup-d.arrayLBAs() {
		return // as it was, with a gap that somebody wanted
	}
	last := d.sectors - d.first
	if last != d.last && t.mbr != nil && kindOf(t.mbr) == protective {
		copy(t.mbr[440:], protectiveMBR(d.sectors)[440:])
	}
	d.backup, d.last = d.sectors-1, last
}

// write puts down both copies, with a barrier between them.
func (t *Table) write(w io.WriterAt, barrier func() error) error {
	d, array := t.disk, t.array()
	primary := header{
		Signature: magic, Revision: 0x10000, Size: headerSize,
		Self: 1, Other: uint64(d.backup),
		First: uint64(d.first), Last: uint64(d.last),
		Disk: t.GUID.EFI(), Entries: uint64(d.array),
		Count: uint32(d.count), EntrySize: entrySize,
		EntriesCRC: crc32.ChecksumIEEE(array[:d.count*entrySize]),
	}
	backup := primary
	backup.Self, backup.Other, backup.Entries = primary.Other, 1, uint64(d.backup-d.arrayLBAs())
	put := func(lba uint64, b []byte) error {
		if _, err := w.WriteAt(b, int64(lba)*d.sector); err != nil {
			return fmt.Errorf("partition table: %w", err)
		}
		return nil
	}
	steps := []func() error{
		func() error { return put(backup.Entries, array) },
		func() error { return put(backup.Self, backup.encode(d.sector)) },
		barrier,
		func() error { return put(primary.Entries, array) },
		func() error { return put(primary.Self, primary.encode(d.sector)) },
		func() error { return put(0, t.firstSector()) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// Wipe takes a table off a disk of size bytes, as sgdisk --zap-all does: the
// MBR and both copies become zeros, and nothing else. After a power cut one of
// them may still be there, to be wiped again.
func Wipe(w Target, size, sector int64) error {
	t, err := New(size, sector, [16]byte{})
	if err != nil {
		return err
	}
	front := make([]byte, t.disk.first*sector)
	if _, err := w.WriteAt(front, 0); err != nil {
		return err
	}
	if _, err := w.WriteAt(front[sector:], (t.disk.last+1)*sector); err != nil {
		return err
	}
	return w.Sync()
}

// firstSector keeps what is no business of a GPT: boot code, and the other
// partitions of a hybrid.
func (t *Table) firstSector() []byte {
	if t.mbr == nil {
		return protectiveMBR(t.disk.sectors)
	}
	if kindOf(t.mbr) == noMBR {
		copy(t.mbr[440:], protectiveMBR(t.disk.sectors)[440:])
	}
	return t.mbr
}

func (h header) encode(sector int64) []byte {
	b := make([]byte, sector)
	_, _ = binary.Encode(b, binary.LittleEndian, h) // fixed size, cannot fail
	binary.LittleEndian.PutUint32(b[16:], crc32.ChecksumIEEE(b[:headerSize]))
	return b
}

func (t *Table) array() []byte {
	array := make([]byte, t.disk.arrayLBAs()*t.disk.sector)
	for _, p := range t.Partitions {
		e := entry{Type: p.Type.EFI(), GUID: p.GUID.EFI(), Attributes: p.Attributes,
			First: uint64(p.Start / t.disk.sector), Last: uint64(p.End()/t.disk.sector) - 1}
		copy(e.Name[:], utf16.Encode([]rune(p.Name)))
		_, _ = binary.Encode(array[(p.Number-1)*entrySize:], binary.LittleEndian, e)
	}
	return array
}

// protectiveMBR is section 5.2.3's: one partition over the whole disk.
func protectiveMBR(sectors int64) []byte {
	b := make([]byte, SectorSize)
	copy(b[446:], []byte{0, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff})
	binary.LittleEndian.PutUint32(b[454:], 1)
	binary.LittleEndian.PutUint32(b[458:], uint32(min(sectors-1, 0xffffffff)))
	b[510], b[511] = 0x55, 0xaa
	return b
}
