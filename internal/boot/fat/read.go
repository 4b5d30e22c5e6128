package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"unicode/utf16"
)

// ErrFormat is matched when a volume is not FAT, or damaged.
var ErrFormat = errors.New("not a good FAT volume")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// A volume is open for reading. Sizes are in bytes.
type volume struct {
	r          io.ReaderAt
	bits       int   // of an entry in the table: 12, 16 or 32
	fat, data  int64 // where the first table and the clusters begin
	cluster    int64
	clusters   int64
	root       int64 // cluster of the root folder; 0 is FAT16's fixed one
	fixed, end int64 // that folder's place
	left       int   // entries that may still be read
}

const maxRead = 1 << 20

// Walk gives fn the files of a volume, whoever made it, by path with their
// long names, in the order of their folders; empty folders are left out.
func Walk(r io.ReaderAt, fn func(name string, size int64, content io.Reader) error) error {
	v, err := open(r)
	if err != nil {
		return err
	}
	return v.folder("", v.root, fn, 0)
}

// Open finds one file, whatever the case of its name, or fs.ErrNotExist.
func Open(r io.ReaderAt, name string) (content io.Reader, size int64, err error) {
	found := errors.New("found")
	err = Walk(r, func(n string, s int64, c io.Reader) error {
		if !strings.EqualFold(n, name) {
			return nil
		}
		content, size = c, s
		return found
	})
	switch err {
	case found:
		return content, size, nil
	case nil:
		err = fs.ErrNotExist
	}
	return nil, 0, fmt.Errorf("%s: %w", name, err)
}

// open reads the boot sector: the FAT specification, section 3.
func open(r io.ReaderAt) (*volume, error) {
	b := make([]byte, sector)
	if _, err := r.ReadAt(b, 0); err != nil {
		return nil, damaged("shorter than a sector")
	}
	le := binary.LittleEndian
	perCluster, reserved, tables := int64(b[13]), int64(le.Uint16(b[14:])), int64(b[16])
	if le.Uint16(b[510:]) != 0xaa55 || le.Uint16(b[11:]) != sector || perCluster == 0 || perCluster&(perCluster-1) != 0 || tables == 0 {
		return nil, damaged("no boot sector with sectors of %d bytes", sector)
	}
	perFAT, sectors := int64(le.Uint16(b[22:])), int64(le.Uint16(b[19:]))
	if perFAT == 0 {
		perFAT = int64(le.Uint32(b[36:]))
	}
	if sectors == 0 {
		sectors = int64(le.Uint32(b[32:]))
	}
	v := &volume{r: r, cluster: perCluster * sector, fat: reserved * sector, left: maxRead}
	v.fixed = (reserved + tables*perFAT) * sector
	v.end = v.fixed + (int64(le.Uint16(b[17:]))*entrySize+sector-1)/sector*sector
	v.data = v.end
	v.clusters = (sectors*sector - v.data) / v.cluster
	switch { // section 3.5: nothing else tells the kind
	case v.clusters < 1 || v.clusters > 0x0ffffff5:
		return nil, damaged("%d clusters", v.clusters)
	case v.clusters < 4085:
		v.bits = 12
	case v.clusters < 65525:
		v.bits = 16
	default:
		v.bits, v.root = 32, int64(le.Uint32(b[44:]))
	}
	return v, nil
}

// chain reads the clusters from first to the end of their chain.
func (v *volume) chain(first int64) io.Reader { return &chain{v: v, next: first} }

type chain struct {
	v    *volume
	next int64
	part *io.SectionReader
	seen int64
}

func (c *chain) Read(p []byte) (int, error) {
	for {
		if c.part != nil {
			if n, err := c.part.Read(p); err != io.EOF || n > 0 {
				return n, err
			}
		}
		if c.next >= lastCluster[c.v.bits] {
			return 0, io.EOF
		}
		if c.next < 2 || c.next >= c.v.clusters+2 || c.seen > c.v.clusters {
			return 0, damaged("cluster %d of %d", c.next, c.v.clusters)
		}
		c.part = io.NewSectionReader(c.v.r, c.v.data+(c.next-2)*c.v.cluster, c.v.cluster)
		c.seen++
		if err := c.step(); err != nil {
			return 0, err
		}
	}
}

// lastCluster is the least that ends a chain, by the table's kind.
var lastCluster = map[int]int64{12: 0xff8, 16: 0xfff8, 32: 0x0ffffff8}

func (c *chain) step() error {
	var b [4]byte
	width := max(c.v.bits/8, 2) // two entries of 12 bits share a byte
	if _, err := c.v.r.ReadAt(b[:width], c.v.fat+c.next*int64(c.v.bits)/8); err != nil {
		return damaged("entry %d of the table: %v", c.next, err)
	}
	next := int64(binary.LittleEndian.Uint32(b[:]) & 0x0fffffff)
	if c.v.bits == 12 {
		next = next >> (c.next % 2 * 4) & 0xfff
	}
	c.next = next
	return nil
}

const (
	attrFolder = 0x10
	attrVolume = 0x08
	attrLong   = 0x0f
	maxDepth   = 32
)

func (v *volume) folder(name string, first int64, fn func(string, int64, io.Reader) error, depth int) error {
	if depth > maxDepth {
		return damaged("folders in each other more than %d deep", maxDepth)
	}
	r := v.chain(first)
	if first == 0 {
		r = io.NewSectionReader(v.r, v.fixed, v.end-v.fixed)
	}
	var long []uint16
	for e := make([]byte, entrySize); ; {
		if _, err := io.ReadFull(r, e); err != nil || e[0] == 0 {
			return v.ended(err)
		}
		if v.left--; v.left < 0 {
			return damaged("more than %d entries", maxRead)
		}
		if e[0] == 0xe5 { // removed
			long = nil
			continue
		}
		if e[11]&0x3f == attrLong {
			long = append(longPart(e), long...)
			continue
		}
		if err := v.entry(path.Join(name, entryName(e, long)), e, fn, depth); err != nil {
			return err
		}
		long = nil
	}
}

func (*volume) ended(err error) error {
	if err == nil || err == io.EOF {
		return nil
	}
	return err
}

func (v *volume) entry(name string, e []byte, fn func(string, int64, io.Reader) error, depth int) error {
	le := binary.LittleEndian
	first := int64(le.Uint16(e[26:]))
	if v.bits == 32 {
		first |= int64(le.Uint16(e[20:])) << 16
	}
	switch base := path.Base(name); {
	case e[11]&attrVolume != 0, strings.HasPrefix(string(e[:11]), "."):
		return nil
	case e[11]&attrFolder != 0:
		if first == 0 || base == ".." {
			return damaged("folder %.100q", name)
		}
		return v.folder(name, first, fn, depth+1)
	}
	size := int64(le.Uint32(e[28:]))
	if size == 0 {
		return fn(name, 0, strings.NewReader(""))
	}
	return fn(name, size, &exact{v.chain(first), size})
}

// exact reads a file's size of bytes; fewer are damage.
type exact struct {
	r    io.Reader
	left int64
}

func (x *exact) Read(p []byte) (int, error) {
	if x.left == 0 {
		return 0, io.EOF
	}
	n, err := x.r.Read(p[:min(int64(len(p)), x.left)])
	if x.left -= int64(n); err == io.EOF && x.left > 0 {
		err = damaged("a file is %d bytes short", x.left)
	}
	return n, err
}

// longPart is 13 units of a long name: section 7 of the specification.
func longPart(e []byte) []uint16 {
	var units []uint16
	for _, at := range [][2]int{{1, 11}, {14, 26}, {28, 32}} {
		for i := at[0]; i < at[1]; i += 2 {
			if u := binary.LittleEndian.Uint16(e[i:]); u != 0 && u != 0xffff {
				units = append(units, u)
			}
		}
	}
	return units
}

// entryName prefers the long name, made so that it stays one part of a path.
// Two bits of byte 12 say that a short name is in lower case.
func entryName(e []byte, long []uint16) string {
	name, extension := strings.TrimRight(string(e[:8]), " "), strings.TrimRight(string(e[8:11]), " ")
	if e[12]&0x08 != 0 {
		name = strings.ToLower(name)
	}
	if e[12]&0x10 != 0 {
		extension = strings.ToLower(extension)
	}
	if extension != "" {
		name += "." + extension
	}
	if len(long) > 0 {
		name = string(utf16.Decode(long))
	}
	return strings.ToValidUTF8(strings.ReplaceAll(name, "/", "_"), "_")
}
