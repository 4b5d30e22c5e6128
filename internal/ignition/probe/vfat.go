package probe

import (
	"fmt"
	"math/bits"
)

// fatGeometry is what the BIOS parameter block says: fatgen103, section 3.
type fatGeometry struct {
	sector, cluster int64 // bytes
	fat, root, data int64 // where they start, in bytes
	rootSize        int64 // of FAT12 and FAT16
	rootCluster     uint32
	large           bool // FAT32
}

func vfat(d device) (*Found, error) {
	boot, err := d.bytes(0, 512)
	if boot == nil {
		return nil, err
	}
	g, ok := fatLayout(boot)
	if !ok {
		return nil, nil
	}
	serial, magic := boot[0x27:0x2b], mark{0x36, 8}
	if g.large {
		serial, magic = boot[0x43:0x47], mark{0x52, 8}
	}
	f := &Found{Type: "vfat", marks: []mark{magic, {0, 3}, {510, 2}}}
	if id := le.Uint32(serial); id != 0 {
		f.UUID = fmt.Sprintf("%04X-%04X", id>>16, id&0xffff)
	}
	f.Label, err = g.label(d)
	return f, err
}

func fatLayout(b []byte) (fatGeometry, bool) {
	var g fatGeometry
	g.sector, g.cluster = int64(le.Uint16(b[11:])), int64(b[13])
	reserved, fats, length := int64(le.Uint16(b[14:])), int64(b[16]), int64(le.Uint16(b[22:]))
	media := b[21]
	if length == 0 {
		g.large, length, g.rootCluster = true, int64(le.Uint32(b[36:])), le.Uint32(b[44:])
	}
	sane := g.sector >= 512 && g.sector <= 4096 && bits.OnesCount64(uint64(g.sector)) == 1 &&
		bits.OnesCount64(uint64(g.cluster)) == 1 && reserved > 0 && fats > 0 && length > 0 && (media >= 0xf8 || media == 0xf0)
	if !sane || !fatMagic(b, g.large) {
		return g, false
	}
	g.rootSize = int64(le.Uint16(b[17:])) * 32
	g.cluster *= g.sector
	g.fat = reserved * g.sector
	g.root = g.fat + fats*length*g.sector
	g.data = g.root + (g.rootSize+g.sector-1)/g.sector*g.sector
	return g, true
}

// fatMagic: a boot sector that says FAT, or jumps and ends as one.
func fatMagic(b []byte, large bool) bool {
	name := string(b[0x36:0x3b])
	if large {
		name = string(b[0x52:0x57])
	}
	switch {
	case name == "MSDOS" || name == "MSWIN" || name[:3] == "FAT":
		return true
	case string(b[3:11]) == "NTFS    " || string(b[3:11]) == "EXFAT   ":
		return false
	}
	return b[510] == 0x55 && b[511] == 0xaa && (b[0] == 0xe9 || b[0] == 0xeb)
}

// label is the volume's entry in the root folder; what the boot sector calls
// it does not count.
func (g fatGeometry) label(d device) (string, error) {
	if !g.large {
		root, err := d.bytes(g.root, g.rootSize)
		name, _ := volumeEntry(root)
		return name, err
	}
	for cluster, left := g.rootCluster, 100; cluster >= 2 && cluster < 0x0ffffff7 && left > 0; left-- {
		part, err := d.bytes(g.data+int64(cluster-2)*g.cluster, g.cluster)
		name, last := volumeEntry(part)
		if err != nil || last {
			return name, err
		}
		next, err := d.bytes(g.fat+int64(cluster)*4, 4)
		if next == nil {
			return "", err
		}
		cluster = le.Uint32(next) & 0x0fffffff
	}
	return "", nil
}

const (
	fatVolume = 0x08
	fatFolder = 0x10
	fatLong   = 0x0f
)

// volumeEntry gives the label, and whether to look no further.
func volumeEntry(folder []byte) (string, bool) {
	for ; len(folder) >= 32; folder = folder[32:] {
		e, attributes := folder[:32], folder[11]
		switch {
		case e[0] == 0:
			return "", true
		case e[0] == 0xe5 || attributes&0x3f == fatLong || le.Uint16(e[26:]) != 0 || le.Uint16(e[20:]) != 0:
			continue
		case attributes&(fatVolume|fatFolder) == fatVolume:
			return text(e[:11]), true
		}
	}
	return "", len(folder) > 0
}
