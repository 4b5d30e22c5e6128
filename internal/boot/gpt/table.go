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

// An Entry is a partition of a table.
type Entry struct {
	Number     int // from 1: its place in the array of entries
	Name       string
	Type, GUID guid.GUID
	Start      int64 // bytes
	Size       int64 // bytes
	Attributes uint64
}

// End is the first byte behind the partition.
func (e Entry) End() int64 { return e.Start + e.Size }

// A Table is what a disk says of its partitions.
type Table struct {
	GUID       guid.GUID
	Partitions []Entry // by number
	Damage     Damage  // what Load found wrong and could do without
	disk       disk
	mbr        []byte // the first 512 bytes as found, nil on a new disk
}

// disk is where a table lies: in sectors, but for sector itself.
type disk struct {
	sector      int64 // bytes
	sectors     int64
	first, last int64 // that partitions may use
	array       int64 // the primary's entries
	count       int   // entries
	align       int64
	backup      int64 // the other header, as the primary names it
}

// newDisk is a disk without a table yet.
func newDisk(size, sector int64) disk {
	d := disk{sector: sector, sectors: size / sector, array: 2, count: maxEntries, align: Align / sector}
	d.first = d.array + d.arrayLBAs()
	d.last = d.sectors - d.first
	d.backup = d.sectors - 1
	return d
}

// arrayLBAs is how many sectors the entries take.
func (d disk) arrayLBAs() int64 {
	return (int64(d.count)*entrySize + d.sector - 1) / d.sector
}

// ErrNoTable says that a disk has no GUID partition table.
var ErrNoTable = errors.New("no GUID partition table")

// Read checks the primary table of a disk of size bytes with sectors of 512.
// It never falls back to the backup: a disk of ours is whole or wrong.
func Read(r io.ReaderAt, size int64) (*Table, error) {
	d := newDisk(size, SectorSize)
	c, err := d.read(r, 1)
	if err != nil {
		return nil, err
	}
	if c.Entries < 2 {
		return nil, fmt.Errorf("partition table: says that its entries are at %d", c.Entries)
	}
	list, err := parseEntries(c.array, d.sector, d.sectors)
	if err != nil {
		return nil, err
	}
	return &Table{GUID: guid.FromEFI(c.Disk), Partitions: list, disk: d}, nil
}

// copied is one of the two that a disk has.
type copied struct {
	header
	array []byte
}

// read takes the copy whose header is in sector at.
func (d disk) read(r io.ReaderAt, at int64) (copied, error) {
	sector := make([]byte, d.sector)
	if _, err := r.ReadAt(sector, at*d.sector); err != nil {
		return copied{}, fmt.Errorf("partition table: %w", err)
	}
	h, err := parseHeader(sector, uint64(at))
	if err != nil {
		return copied{}, err
	}
	array := make([]byte, int(h.Count)*entrySize)
	if _, err := r.ReadAt(array, int64(h.Entries)*d.sector); err != nil {
		return copied{}, fmt.Errorf("partition entries: %w", err)
	}
	if crc32.ChecksumIEEE(array) != h.EntriesCRC {
		return copied{}, errors.New("partition entries: checksum does not match")
	}
	return copied{h, array}, nil
}

func parseHeader(sector []byte, at uint64) (header, error) {
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
	case h.Self != at || h.Entries > 1<<40:
		return h, fmt.Errorf("partition table: says it is at %d with entries at %d", h.Self, h.Entries)
	}
	return h, nil
}

func parseEntries(array []byte, sector, sectors int64) ([]Entry, error) {
	var list []Entry
	for i := 0; i < len(array); i += entrySize {
		var e entry
		_, _ = binary.Decode(array[i:], binary.LittleEndian, &e)
		if e.Type == [16]byte{} {
			continue
		}
		if e.First < 2 || e.Last < e.First || e.Last >= uint64(sectors) {
			return nil, fmt.Errorf("partition %d: sectors %d to %d on a disk of %d", i/entrySize+1, e.First, e.Last, sectors)
		}
		list = append(list, Entry{
			Number: i/entrySize + 1,
			Name:   name(e.Name[:]), Type: guid.FromEFI(e.Type), GUID: guid.FromEFI(e.GUID),
			Start: int64(e.First) * sector, Size: int64(e.Last-e.First+1) * sector,
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
