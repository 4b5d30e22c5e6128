// Package gpt reads, edits and writes GUID partition tables (UEFI 2.10,
// chapter 5).
//
// A Disk is an image that is made at once: the same partitions give the same
// disk, byte for byte, and blocks of zeros are left as holes. A Table is that
// of a disk in use: it is loaded from whichever copy is whole, edited with
// sgdisk's rules, and saved so that no power cut leaves a disk without one.
package gpt

import (
	"fmt"
	"io"
	"unicode/utf16"

	"holdfast/internal/boot/guid"
)

// SectorSize is the logical block size of images.
const SectorSize = 512

// Align is where partitions start and what their sizes are rounded to.
const Align = 1 << 20

// Types of the Discoverable Partitions Specification.
var (
	TypeESP         = guid.Must("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
	TypeRootX86     = guid.Must("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")
	TypeVerityX86   = guid.Must("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5")
	TypeRootARM64   = guid.Must("b921b045-1df0-41c3-af44-4c6f280d3fae")
	TypeVerityARM64 = guid.Must("df3300ce-d69f-4c92-978c-9bfb0f38d820")
)

// ReadOnly is the attribute bit by which the Discoverable Partitions
// Specification marks a partition that is mounted read-only.
const ReadOnly = 1 << 60

// A Partition to be written.
type Partition struct {
	Name       string // at most 36 UTF-16 units
	Type, GUID guid.GUID
	Size       int64 // rounded up to Align
	Attributes uint64
	Content    io.Reader // at most Size bytes; nil leaves the partition empty
}

// A Disk is what Write makes, with its partitions in the given order.
type Disk struct {
	GUID       guid.GUID
	Partitions []Partition
}

// Size of the disk in bytes.
func (d Disk) Size() int64 {
	size := int64(2 * Align) // the tables, in front and behind
	for _, p := range d.Partitions {
		size += p.extent()
	}
	return size
}

func (p Partition) extent() int64 { return (p.Size + Align - 1) / Align * Align }

// Write writes the disk; w is expected to read as zeros where nothing is
// written. The last bytes are written first, so that a file has its size.
func Write(w io.WriterAt, d Disk) error {
	if err := d.check(); err != nil {
		return err
	}
	t := d.table()
	if err := t.write(w, func() error { return nil }); err != nil {
		return err
	}
	for i, p := range d.Partitions {
		if err := p.write(w, t.Partitions[i].Start); err != nil {
			return fmt.Errorf("partition %q: %w", p.Name, err)
		}
	}
	return nil
}

// table lays the partitions out, one behind the other.
func (d Disk) table() *Table {
	t := &Table{GUID: d.GUID, disk: newDisk(d.Size(), SectorSize)}
	at := int64(Align)
	for i, p := range d.Partitions {
		t.Partitions = append(t.Partitions, Entry{Number: i + 1, Name: p.Name, Type: p.Type, GUID: p.GUID,
			Start: at, Size: p.extent(), Attributes: p.Attributes})
		at += p.extent()
	}
	return t
}

func (d Disk) check() error {
	if len(d.Partitions) > maxEntries {
		return fmt.Errorf("%d partitions, at most %d fit", len(d.Partitions), maxEntries)
	}
	seen := map[guid.GUID]bool{{}: true}
	for _, p := range d.Partitions {
		switch {
		case p.Size <= 0:
			return fmt.Errorf("partition %q: size is %d", p.Name, p.Size)
		case p.Type == guid.GUID{}:
			return fmt.Errorf("partition %q: no type", p.Name)
		case seen[p.GUID]:
			return fmt.Errorf("partition %q: GUID %v is zero or used twice", p.Name, p.GUID)
		case len(utf16.Encode([]rune(p.Name))) > nameUnits:
			return fmt.Errorf("partition %q: name is longer than %d units", p.Name, nameUnits)
		}
		seen[p.GUID] = true
	}
	return nil
}

func (p Partition) write(w io.WriterAt, at int64) error {
	if p.Content == nil {
		return nil
	}
	n, err := io.CopyBuffer(&sparse{w: w, at: at}, plainReader{p.Content}, make([]byte, Align))
	if err == nil && n > p.Size {
		err = fmt.Errorf("content is longer than %d bytes", p.Size)
	}
	return err
}

// plainReader hides WriteTo, so that no content is written in one huge piece.
type plainReader struct{ io.Reader }

// sparse writes one after the other and skips pages of zeros.
type sparse struct {
	w  io.WriterAt
	at int64
}

const page = 4096

func (s *sparse) Write(b []byte) (int, error) {
	for start := 0; start < len(b); {
		end := start
		for end < len(b) && !isZero(b[end:min(end+page, len(b))]) {
			end = min(end+page, len(b))
		}
		if end > start {
			if _, err := s.w.WriteAt(b[start:end], s.at+int64(start)); err != nil {
				return start, err
			}
		}
		start = min(end+page, len(b))
	}
	s.at += int64(len(b))
	return len(b), nil
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
