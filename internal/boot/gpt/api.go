// Package gpt writes and reads GUID partition tables.
//
// The same partitions give the same disk, byte for byte, and blocks of zeros
// are left as holes.
package gpt

import (
	"errors"
	"io"

	"holdfast/internal/boot/guid"
)

// SectorSize is the only logical block size written or read.
const SectorSize = 512

// Align is where partitions start and what their sizes are rounded to.
const Align = 1 << 20

// Types of the Discoverable Partitions Specification.
var (
	TypeESP       = guid.Must("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
	TypeRootX86   = guid.Must("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")
	TypeVerityX86 = guid.Must("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5")
)

// A Partition to be written. Content may be shorter than Size, not longer.
type Partition struct {
	Name     string // at most 36 UTF-16 units
	Type     guid.GUID
	GUID     guid.GUID
	Size     int64
	Content  io.Reader // nil leaves it empty
	ReadOnly bool      // attribute bit 60
}

// A Disk is what Write makes.
type Disk struct {
	GUID       guid.GUID
	Partitions []Partition // on disk in this order
}

// Size of the disk in bytes.
func (d Disk) Size() int64 { return 0 }

// Write writes the disk; w is expected to read as zeros where nothing is written.
func Write(w io.WriterAt, d Disk) error { return errors.New("not built") }

// An Entry is a partition found on a disk.
type Entry struct {
	Name       string
	Type, GUID guid.GUID
	Start      int64 // bytes
	Size       int64 // bytes
	Attributes uint64
}

// Read checks the primary table of a disk of size bytes.
func Read(r io.ReaderAt, size int64) (disk guid.GUID, entries []Entry, err error) {
	return guid.GUID{}, nil, errors.New("not built")
}
