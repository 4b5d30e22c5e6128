package gpt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"

	"holdfast/internal/boot/guid"
)

const (
	maxEntries = 128
	entrySize  = 128
	nameUnits  = 36
	headerSize = 92
	arraySize  = maxEntries * entrySize
	// arrayLBAs is how many sectors the entries take.
	arrayLBAs = arraySize / SectorSize
)

// header is the GPT header: UEFI 2.10, table 5-5.
type header struct {
	Signature        [8]byte
	Revision, Size   uint32
	CRC, _           uint32
	Self, Other      uint64
	First, Last      uint64
	Disk             [16]byte
	Entries          uint64
	Count, EntrySize uint32
	EntriesCRC       uint32
}

// entry is a GPT partition entry: table 5-6.
type entry struct {
	Type, GUID  [16]byte
	First, Last uint64
	Attributes  uint64
	Name        [nameUnits]uint16
}

var magic = [8]byte{'E', 'F', 'I', ' ', 'P', 'A', 'R', 'T'}

func (d Disk) writeTables(w io.WriterAt) error {
	sectors := uint64(d.Size() / SectorSize)
	array := d.entries()
	primary := header{
		Signature: magic, Revision: 0x10000, Size: headerSize,
		Self: 1, Other: sectors - 1,
		First: 2 + arrayLBAs, Last: sectors - 2 - arrayLBAs,
		Disk: d.GUID.EFI(), Entries: 2,
		Count: maxEntries, EntrySize: entrySize,
		EntriesCRC: crc32.ChecksumIEEE(array),
	}
	backup := primary
	backup.Self, backup.Other, backup.Entries = sectors-1, 1, sectors-1-arrayLBAs
	for _, part := range []struct {
		lba  uint64
		data []byte
	}{
		{backup.Self, backup.sector()},
		{backup.Entries, array},
		{0, protectiveMBR(sectors)},
		{primary.Self, primary.sector()},
		{primary.Entries, array},
	} {
		if _, err := w.WriteAt(part.data, int64(part.lba)*SectorSize); err != nil {
			return fmt.Errorf("partition table: %w", err)
		}
	}
	return nil
}

func (h header) sector() []byte {
	b := make([]byte, SectorSize)
	_, _ = binary.Encode(b, binary.LittleEndian, h) // fixed size, cannot fail
	binary.LittleEndian.PutUint32(b[16:], crc32.ChecksumIEEE(b[:headerSize]))
	return b
}

func (d Disk) entries() []byte {
	array := make([]byte, 0, arraySize)
	lba := uint64(Align / SectorSize)
	for _, p := range d.Partitions {
		e := entry{Type: p.Type.EFI(), GUID: p.GUID.EFI(), First: lba, Attributes: p.Attributes}
		lba += uint64(p.extent() / SectorSize)
		e.Last = lba - 1
		copy(e.Name[:], utf16.Encode([]rune(p.Name)))
		array, _ = binary.Append(array, binary.LittleEndian, e)
	}
	return append(array, make([]byte, arraySize-len(array))...)
}

// protectiveMBR is section 5.2.3's: one partition over the whole disk.
func protectiveMBR(sectors uint64) []byte {
	b := make([]byte, SectorSize)
	copy(b[446:], []byte{0, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff})
	binary.LittleEndian.PutUint32(b[454:], 1)
	binary.LittleEndian.PutUint32(b[458:], uint32(min(sectors-1, 0xffffffff)))
	b[510], b[511] = 0x55, 0xaa
	return b
}

// An Entry is a partition found on a disk.
type Entry struct {
	Name       string
	Type, GUID guid.GUID
	Start      int64 // bytes
	Size       int64 // bytes
	Attributes uint64
}

// A Table is what Read finds.
type Table struct {
	GUID       guid.GUID
	Partitions []Entry
}

// ErrNoTable says that a disk has no GUID partition table.
var ErrNoTable = errors.New("no GUID partition table")

// Read checks the primary table of a disk of size bytes. It never falls back
// to the backup: a disk of ours is whole or wrong.
func Read(r io.ReaderAt, size int64) (*Table, error) {
	var sector [SectorSize]byte
	if _, err := r.ReadAt(sector[:], SectorSize); err != nil {
		return nil, fmt.Errorf("partition table: %w", err)
	}
	h, err := parseHeader(sector[:])
	if err != nil {
		return nil, err
	}
	array := make([]byte, int(h.Count)*entrySize)
	if _, err := r.ReadAt(array, int64(h.Entries)*SectorSize); err != nil {
		return nil, fmt.Errorf("partition entries: %w", err)
	}
	if crc32.ChecksumIEEE(array) != h.EntriesCRC {
		return nil, errors.New("partition entries: checksum does not match")
	}
	t := &Table{GUID: guid.FromEFI(h.Disk)}
	t.Partitions, err = parseEntries(array, uint64(size/SectorSize))
	return t, err
}

func parseHeader(sector []byte) (header, error) {
	var h header
	_, _ = binary.Decode(sector, binary.LittleEndian, &h)
	if h.Signature != magic {
		return h, ErrNoTable
	}
	clear(sector[16:20])
	switch {
	case h.Size != headerSize || h.EntrySize != entrySize || h.Count > 1024:
		return h, fmt.Errorf("partition table: header of %d bytes, %d entries of %d", h.Size, h.Count, h.EntrySize)
	case crc32.ChecksumIEEE(sector[:headerSize]) != h.CRC:
		return h, errors.New("partition table: checksum does not match")
	case h.Self != 1 || h.Entries < 2 || h.Entries > 1<<32:
		return h, fmt.Errorf("partition table: says it is at %d with entries at %d", h.Self, h.Entries)
	}
	return h, nil
}

func parseEntries(array []byte, sectors uint64) ([]Entry, error) {
	var list []Entry
	for i := 0; i < len(array); i += entrySize {
		var e entry
		_, _ = binary.Decode(array[i:], binary.LittleEndian, &e)
		if e.Type == [16]byte{} {
			continue
		}
		if e.First < 2 || e.Last < e.First || e.Last >= sectors {
			return nil, fmt.Errorf("partition %d: sectors %d to %d on a disk of %d", i/entrySize+1, e.First, e.Last, sectors)
		}
		list = append(list, Entry{
			Name: name(e.Name[:]), Type: guid.FromEFI(e.Type), GUID: guid.FromEFI(e.GUID),
			Start: int64(e.First) * SectorSize, Size: int64(e.Last-e.First+1) * SectorSize,
			Attributes: e.Attributes,
		})
	}
	return list, nil
}

func name(units []uint16) string {
	for i, u := range units {
		if u == 0 {
			units = units[:i]
			break
		}
	}
	return string(utf16.Decode(units))
}
