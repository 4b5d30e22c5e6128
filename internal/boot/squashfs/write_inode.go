package squashfs

import (
	"archive/tar"
	"fmt"
	"math"
)

// The types of inodes. An extended one has room for more, and its type is 7
// above the basic one's.
const (
	typeDir = iota + 1
	typeFile
	typeSymlink
	typeBlock
	typeChar
	typeFifo
	extended = 7
)

var types = map[byte]uint16{
	tar.TypeDir: typeDir, tar.TypeReg: typeFile, tar.TypeSymlink: typeSymlink,
	tar.TypeBlock: typeBlock, tar.TypeChar: typeChar, tar.TypeFifo: typeFifo,
}

// inodes writes the inode and directory tables. An inode precedes the
// directories that name it. Root is where the root's lies.
func (w *writer) inodes(t *tree) (inodes, dirs *metaWriter, root uint64, err error) {
	inodes, dirs = &metaWriter{codec: w.codec}, &metaWriter{codec: w.codec}
	var walk func(path string, n *node) error
	walk = func(path string, n *node) error {
		if n.written {
			return nil
		}
		for _, c := range n.children {
			if err := walk(path+"/"+c.name, c.node); err != nil {
				return err
			}
		}
		raw, err := w.inode(t, n, dirs)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		n.block, n.offset = inodes.pos()
		n.written = true
		inodes.write(raw)
		return nil
	}
	err = walk("", t.root)
	return inodes, dirs, uint64(t.root.block)<<16 | uint64(t.root.offset), err
}

// inode is the inode of n. A directory's listing goes to dirs.
func (w *writer) inode(t *tree, n *node, dirs *metaWriter) ([]byte, error) {
	kind, known := types[n.header.Typeflag]
	if !known {
		return nil, fmt.Errorf("entry type %q is not a file of any kind", n.header.Typeflag)
	}
	attrs, err := w.attrs.of(n.header)
	if err != nil {
		return nil, err
	}
	var rest []byte
	switch kind {
	case typeDir:
		kind, rest = dirInode(t, n, dirs, attrs)
	case typeFile:
		kind, rest = n.file.inode(n.links, attrs)
	default:
		kind, rest = plainInode(kind, n, attrs)
	}
	uid, err := w.ids.of(n.header.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := w.ids.of(n.header.Gid)
	raw := le.AppendUint16(nil, kind)
	raw = le.AppendUint16(raw, uint16(n.header.Mode&0o7777))
	raw = le.AppendUint16(raw, uid)
	raw = le.AppendUint16(raw, gid)
	raw = le.AppendUint32(raw, w.date)
	raw = le.AppendUint32(raw, n.number)
	return append(raw, rest...), err
}

// listingExtra is what a directory's size is above its listing's: readers make
// up "." and "..".
const listingExtra = 3

func dirInode(t *tree, n *node, dirs *metaWriter, attrs uint32) (kind uint16, raw []byte) {
	block, offset := dirs.pos()
	listing := n.listing()
	dirs.write(listing)
	parent := uint32(t.count + 1) // of the root
	if n.parent != nil {
		parent = n.parent.number
	}
	size := uint32(len(listing) + listingExtra)
	if size <= math.MaxUint16 && attrs == noXattrs {
		raw = le.AppendUint32(nil, block)
		raw = le.AppendUint32(raw, n.links)
		raw = le.AppendUint16(raw, uint16(size))
		raw = le.AppendUint16(raw, offset)
		return typeDir, le.AppendUint32(raw, parent)
	}
	raw = le.AppendUint32(nil, n.links)
	raw = le.AppendUint32(raw, size)
	raw = le.AppendUint32(raw, block)
	raw = le.AppendUint32(raw, parent)
	raw = le.AppendUint16(raw, 0) // no index
	raw = le.AppendUint16(raw, offset)
	return typeDir + extended, le.AppendUint32(raw, attrs)
}

// maxRun is how many entries may share a header.
const maxRun = 256

// listing is n's directory: runs of entries whose inodes lie in one block and
// are numbered near each other, each run behind a header.
func (n *node) listing() (raw []byte) {
	for rest := n.children; len(rest) > 0; {
		first, run := rest[0].node, run(rest)
		raw = le.AppendUint32(raw, uint32(run-1))
		raw = le.AppendUint32(raw, first.block)
		raw = le.AppendUint32(raw, first.number)
		for _, c := range rest[:run] {
			raw = le.AppendUint16(raw, c.node.offset)
			raw = le.AppendUint16(raw, uint16(int16(int64(c.node.number)-int64(first.number))))
			raw = le.AppendUint16(raw, types[c.node.header.Typeflag])
			raw = le.AppendUint16(raw, uint16(len(c.name)-1))
			raw = append(raw, c.name...)
		}
		rest = rest[run:]
	}
	return raw
}

func run(list []child) int {
	first := list[0].node
	for i, c := range list {
		apart := int64(c.node.number) - int64(first.number)
		if i == maxRun || c.node.block != first.block || apart != int64(int16(apart)) {
			return i
		}
	}
	return len(list)
}

// plainInode is that of a file without data.
func plainInode(kind uint16, n *node, attrs uint32) (uint16, []byte) {
	raw := le.AppendUint32(nil, n.links)
	switch kind {
	case typeSymlink:
		raw = le.AppendUint32(raw, uint32(len(n.header.Linkname)))
		raw = append(raw, n.header.Linkname...)
	case typeBlock, typeChar:
		raw = le.AppendUint32(raw, device(n.header.Devmajor, n.header.Devminor))
	}
	if attrs == noXattrs {
		return kind, raw
	}
	return kind + extended, le.AppendUint32(raw, attrs)
}

// device is the kernel's new_encode_dev: 12 bits of major amid 20 of minor.
func device(major, minor int64) uint32 {
	return uint32(minor&0xff | major&0xfff<<8 | minor&^0xff<<12)
}
