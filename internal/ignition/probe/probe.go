// Package probe tells what lies on a block device, by the superblocks that
// filesystems, swap, RAID members and encrypted volumes have.
//
// Its answers are those of blkid: type, label and UUID in the same words, and
// of several signatures the same one first. It only ever reads, but for Wipe.
package probe

import (
	"errors"
	"fmt"
	"io"
)

// A Found signature. The zero value is a device with nothing on it.
type Found struct {
	Type, Label, UUID string
	marks             []mark // what makes it recognised
	container         bool   // RAID and crypto hide what lies inside
	tolerant          bool   // may lie beside another
}

// mark is a magic number's place.
type mark struct{ at, size int64 }

// ErrAmbivalent says that a device has the signatures of several filesystems.
var ErrAmbivalent = errors.New("more than one filesystem")

// A device to look at.
type device struct {
	io.ReaderAt
	size int64
}

// bytes gives nil where the device is too short.
func (d device) bytes(at, n int64) ([]byte, error) {
	if at < 0 || n < 0 || at+n > d.size {
		return nil, nil
	}
	b := make([]byte, n)
	if _, err := d.ReadAt(b, at); err != nil {
		return nil, fmt.Errorf("%d bytes at %d: %w", n, at, err)
	}
	return b, nil
}

// has says whether text lies at a place.
func (d device) has(at int64, text string) (bool, error) {
	b, err := d.bytes(at, int64(len(text)))
	return b != nil && string(b) == text, err
}

// Each knows one kind and gives nil where there is none, in blkid's order:
// containers first.
var kinds = []func(device) (*Found, error){
	raid1, raid0, plain("LVM2_member", "LVM2 001", 536, 24, 1048, 1560), plain("DM_verity_hash", "verity\x00\x00", 0),
	plain("bcache", "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", 4120),
	luks, lukSecond, vfat, swap, xfs, ext, btrfs, plain("reiserfs", "ReIsErFs", 65588, 8244), plain("jfs", "JFS1", 32768),
	udf, iso9660, zfs, plain("hfsplus", "H+\x00\x04", 1024), plain("ntfs", "NTFS    ", 3), plain("nilfs2", "\x34\x34", 1030),
	plain("exfat", "EXFAT   ", 3), plain("f2fs", "\x10\x20\xf5\xf2", 1024), plain("erofs", "\xe2\xe1\xf5\xe0", 1024),
	plain("apfs", "NXSB", 32), squashfs, plain("cramfs", "\x45\x3d\xcd\x28", 0), plain("romfs", "-rom1fs-", 0),
}

// All signatures of a device of size bytes. Nothing is looked for behind the
// first container.
func All(r io.ReaderAt, size int64) ([]Found, error) {
	d := device{r, size}
	var list []Found
	for _, look := range kinds {
		f, err := look(d)
		if err != nil {
			return nil, err
		}
		if f == nil {
			continue
		}
		list = append(list, *f)
		if f.container {
			break
		}
	}
	return list, nil
}

// One is the only signature, or none at all; several are ErrAmbivalent, with
// the first of them beside it.
func One(r io.ReaderAt, size int64) (Found, error) {
	list, err := All(r, size)
	if err != nil || len(list) == 0 {
		return Found{}, err
	}
	strict := false
	names := list[0].Type
	for i, f := range list {
		strict = strict || !f.tolerant
		if i > 0 {
			names += ", " + f.Type
		}
	}
	if len(list) > 1 && strict {
		return list[0], fmt.Errorf("%w: %s", ErrAmbivalent, names)
	}
	return list[0], nil
}

// plain kinds are recognised by their magic alone.
func plain(kind, magic string, at ...int64) func(device) (*Found, error) {
	return func(d device) (*Found, error) {
		for _, a := range at {
			ok, err := d.has(a, magic)
			if err != nil {
				return nil, err
			}
			if ok {
				return &Found{Type: kind, marks: []mark{{a, int64(len(magic))}}, container: kind == "LVM2_member" || kind == "bcache"}, nil
			}
		}
		return nil, nil
	}
}

// A Disk that can be wiped.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// Wipe makes every signature unreadable, as wipefs -a does: magic numbers
// become zeros and nothing else is touched.
func Wipe(d Disk, size int64) error {
	for range 64 { // containers hide others, and mkfs leaves copies
		list, err := All(d, size)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return d.Sync()
		}
		for _, f := range list {
			for _, m := range f.marks {
				if _, err := d.WriteAt(make([]byte, m.size), m.at); err != nil {
					return fmt.Errorf("wipe %s: %w", f.Type, err)
				}
			}
		}
	}
	return errors.New("wipe: signatures come back")
}
