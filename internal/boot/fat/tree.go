package fat

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A node is a file or folder; place gives it its clusters.
type node struct {
	name     string // upper case, unless it is a long one
	alias    string // the 8.3 name of a long one
	dir      bool
	size     int64
	content  io.Reader
	children []*node
	parent   *node
	first    int64 // cluster
	clusters int64
}

// shortName is what a directory entry without a long name can hold.
var shortName = regexp.MustCompile(`^[A-Z0-9$%'_@~!(){}^#&-]{1,8}(\.[A-Z0-9$%'_@~!(){}^#&-]{1,3})?$`)

func (v Volume) tree() (*node, error) {
	root := &node{dir: true}
	for _, f := range v.Files {
		if err := root.add(f); err != nil {
			return nil, fmt.Errorf("FAT file %s: %w", f.Path, err)
		}
	}
	return root, nil
}

func (n *node) add(f File) error {
	if f.Size < 0 || f.Size > math.MaxUint32 {
		return fmt.Errorf("%d bytes do not fit", f.Size)
	}
	parts := strings.Split(f.Path, "/")
	for i, name := range parts {
		if upper := strings.ToUpper(name); shortName.MatchString(upper) {
			name = upper
		} else if !isLong(name) {
			return fmt.Errorf("%q is no name", name)
		}
		last := i == len(parts)-1
		child := n.child(name)
		switch {
		case child == nil:
			child = &node{name: name, alias: n.alias83(name), dir: !last, parent: n}
			n.children = append(n.children, child)
		case last || !child.dir:
			return fmt.Errorf("%q is already there", name)
		}
		n = child
	}
	n.size, n.content = f.Size, f.Content
	if n.content == nil {
		n.content = strings.NewReader("")
	}
	return nil
}

func (n *node) child(name string) *node {
	i := slices.IndexFunc(n.children, func(c *node) bool { return strings.EqualFold(c.name, name) || c.alias == name })
	if i < 0 {
		return nil
	}
	return n.children[i]
}

// all lists n and everything under it, folders before what they hold.
func (n *node) all() []*node {
	list := []*node{n}
	for _, c := range n.children {
		list = append(list, c.all()...)
	}
	return list
}

const entrySize = 32

// entries is how many directory entries a folder has: its children with their
// long names, and two for itself and its parent, or one for the root's label.
func (n *node) entries() int64 {
	count := 2
	for _, c := range n.children {
		count += 1 + len(c.long())
	}
	return int64(count)
}

// directories writes what folders hold: Microsoft's FAT specification,
// version 1.03, "FAT Directory Structure".
type directories struct {
	time  time.Time
	label string
}

const (
	attrLabel   = 0x08
	attrDir     = 0x10
	attrArchive = 0x20
)

func (d directories) bytes(n *node) []byte {
	var b []byte
	switch {
	case n.parent != nil:
		b = append(b, d.entry(pad11("."), attrDir, n.first, 0)...)
		b = append(b, d.entry(pad11(".."), attrDir, n.parent.linkTarget(), 0)...)
	case d.label != "":
		b = append(b, d.entry(pad11(strings.ToUpper(d.label)), attrLabel, 0, 0)...)
	}
	for _, c := range n.children {
		attr, size := byte(attrArchive), c.size
		if c.dir {
			attr, size = attrDir, 0
		}
		for _, part := range c.long() {
			b = append(b, part...)
		}
		b = append(b, d.entry(short(c.shortName()), attr, c.first, size)...)
	}
	return b
}

// linkTarget is what ".." says: the root is always called 0.
func (n *node) linkTarget() int64 {
	if n.parent == nil {
		return 0
	}
	return n.first
}

func short(name string) string {
	base, ext, _ := strings.Cut(name, ".")
	return fmt.Sprintf("%-8s%-3s", base, ext)
}

func pad11(s string) string { return fmt.Sprintf("%-11s", s) }

func (d directories) entry(name string, attr byte, cluster, size int64) []byte {
	e := make([]byte, entrySize)
	copy(e, name)
	e[11] = attr
	t := d.time
	clock := uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
	date := uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day())
	le := binary.LittleEndian
	le.PutUint16(e[14:], clock) // created
	le.PutUint16(e[16:], date)
	le.PutUint16(e[18:], date) // read
	le.PutUint16(e[20:], uint16(cluster>>16))
	le.PutUint16(e[22:], clock) // written
	le.PutUint16(e[24:], date)
	le.PutUint16(e[26:], uint16(cluster))
	le.PutUint32(e[28:], uint32(size))
	return e
}
