package probe

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
	"unicode/utf16"
)

var (
	le = binary.LittleEndian
	be = binary.BigEndian
)

// text ends at a zero; blanks behind it are no part of it.
func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return strings.TrimRight(strings.ToValidUTF8(string(b), "\ufffd"), " ")
}

func uuid(b []byte) string {
	if bytes.Count(b, []byte{0}) == len(b) {
		return ""
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// Features of ext that decide which of the family it is: fs/ext4/ext4.h.
const (
	extJournal     = 0x4 // compatible
	extJournalDev  = 0x8 // incompatible
	ext3Incompat   = 0x2 | 0x4 | 0x10
	ext3Compatible = 0x1 | 0x2 | 0x4 // read-only
)

// ext is Documentation/filesystems/ext4/super.rst.
func ext(d device) (*Found, error) {
	sb, err := d.bytes(1024, 1024)
	if sb == nil || le.Uint16(sb[56:]) != 0xef53 {
		return nil, err
	}
	f := &Found{Type: "ext2", UUID: uuid(sb[0x68:0x78]), Label: text(sb[0x78:0x88]), marks: []mark{{1080, 2}}}
	compat, incompat, readOnly := le.Uint32(sb[0x5c:]), le.Uint32(sb[0x60:]), le.Uint32(sb[0x64:])
	switch {
	case incompat&extJournalDev != 0:
		f.Type = "jbd"
	case incompat&^ext3Incompat != 0 || readOnly&^ext3Compatible != 0:
		f.Type = "ext4"
	case compat&extJournal != 0:
		f.Type = "ext3"
	}
	return f, nil
}

// xfs is section "Superblocks" of XFS Algorithms & Data Structures.
func xfs(d device) (*Found, error) {
	sb, err := d.bytes(0, 512)
	if sb == nil || string(sb[:4]) != "XFSB" || bits.OnesCount32(be.Uint32(sb[4:])) != 1 {
		return nil, err
	}
	return &Found{Type: "xfs", UUID: uuid(sb[32:48]), Label: text(sb[108:120]), marks: []mark{{0, 4}}}, nil
}

// btrfs is struct btrfs_super_block.
func btrfs(d device) (*Found, error) {
	const at = 64 << 10
	sb, err := d.bytes(at, 4096)
	if sb == nil || string(sb[0x40:0x48]) != "_BHRfS_M" {
		return nil, err
	}
	return &Found{Type: "btrfs", UUID: uuid(sb[0x20:0x30]), Label: text(sb[0x12b:0x22b]), marks: []mark{{at + 0x40, 8}}}, nil
}

// swap is union swap_header of linux/swap.h, behind a page of any size.
func swap(d device) (*Found, error) {
	for page := int64(4096); page <= 65536; page *= 2 {
		b, err := d.bytes(page-10, 10)
		if err != nil {
			return nil, err
		}
		kind := swapKind(string(b))
		if kind == "" {
			continue
		}
		f := &Found{Type: kind, marks: []mark{{page - 10, 10}}}
		head, err := d.bytes(1024, 44)
		if err != nil || string(b) == "SWAP-SPACE" || head == nil {
			return f, err
		}
		f.UUID, f.Label = uuid(head[12:28]), text(head[28:44])
		return f, nil
	}
	return nil, nil
}

func swapKind(magic string) string {
	switch {
	case magic == "SWAPSPACE2" || magic == "SWAP-SPACE":
		return "swap"
	case strings.HasPrefix(magic, "S1SUSPEND") || strings.HasPrefix(magic, "S2SUSPEND") ||
		strings.HasPrefix(magic, "ULSUSPEND") || magic == "LINHIB0001":
		return "swsuspend"
	}
	return ""
}

// iso9660 is ECMA-119, 8.4: the name and the time of the last change.
func iso9660(d device) (*Found, error) {
	const at = 32 << 10
	pvd, err := d.bytes(at, 2048)
	if pvd == nil || string(pvd[1:6]) != "CD001" {
		return nil, err
	}
	f := &Found{Type: "iso9660", Label: text(pvd[40:72]), tolerant: true, marks: []mark{{at + 1, 5}}}
	if f.UUID = date(pvd[830:846]); f.UUID == "" {
		f.UUID = date(pvd[813:829])
	}
	joliet, err := jolietLabel(d)
	if joliet != "" {
		f.Label = joliet
	}
	return f, err
}

func date(b []byte) string {
	if bytes.ContainsFunc(b, func(r rune) bool { return r < '0' || r > '9' }) || bytes.Count(b, []byte("0")) == len(b) {
		return ""
	}
	return fmt.Sprintf("%s-%s-%s-%s-%s-%s-%s", b[:4], b[4:6], b[6:8], b[8:10], b[10:12], b[12:14], b[14:16])
}

// jolietLabel is that of a supplementary descriptor in UCS-2, which has
// lower-case letters.
func jolietLabel(d device) (string, error) {
	for at := int64(34 << 10); at < 32<<10+16*2048; at += 2048 {
		b, err := d.bytes(at, 2048)
		if b == nil || string(b[1:6]) != "CD001" || b[0] == 255 {
			return "", err
		}
		if b[0] == 2 && b[88] == '%' && b[89] == '/' {
			units := make([]uint16, 16)
			_, _ = binary.Decode(b[40:72], be, units)
			return text([]byte(string(utf16.Decode(units)))), nil
		}
	}
	return "", nil
}

// udf is recognised by its volume structure descriptors: ECMA-167, 3/3.1.
func udf(d device) (*Found, error) {
	for at := int64(32 << 10); at < 32<<10+8*2048; at += 2048 {
		b, err := d.bytes(at, 7)
		if b == nil {
			return nil, err
		}
		if id := string(b[1:6]); id == "NSR02" || id == "NSR03" {
			return &Found{Type: "udf", tolerant: true, marks: []mark{{at + 1, 5}}}, nil
		}
	}
	return nil, nil
}

func squashfs(d device) (*Found, error) {
	sb, err := d.bytes(0, 96)
	if sb == nil || string(sb[:4]) != "hsqs" {
		return nil, err
	}
	f := &Found{Type: "squashfs", marks: []mark{{0, 4}}}
	if le.Uint16(sb[28:]) < 4 {
		f.Type = "squashfs3"
	}
	return f, nil
}

// zfs keeps four labels with arrays of uberblocks, and a member has many.
func zfs(d device) (*Found, error) {
	f := &Found{Type: "zfs_member"}
	for _, label := range []int64{0, 256 << 10, d.size&^(256<<10-1) - 512<<10, d.size&^(256<<10-1) - 256<<10} {
		ring, err := d.bytes(label+128<<10, 128<<10)
		if err != nil {
			return nil, err
		}
		for at := int64(0); at < int64(len(ring)); at += 1024 {
			if magic := ring[at : at+8]; le.Uint64(magic) == 0x00bab10c || be.Uint64(magic) == 0x00bab10c {
				f.marks = append(f.marks, mark{label + 128<<10 + at, 8})
			}
		}
	}
	if len(f.marks) < 4 {
		return nil, nil
	}
	return f, nil
}
