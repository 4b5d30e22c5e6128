package squashfs

import (
	"archive/tar"
	"fmt"
	"io"
)

// An inode is where the bytes of a file, or the entries of a folder, are.
type inode struct {
	start    uint64
	size     uint64
	offset   uint32
	fragment uint32
	blocks   []uint32
}

const noFragment = ^uint32(0)

// kinds are the types of inodes; 7 more are the extended forms of these.
var kinds = []byte{0, tar.TypeDir, tar.TypeReg, tar.TypeSymlink, tar.TypeBlock, tar.TypeChar, tar.TypeFifo, TypeSocket}

// inode reads one inode: struct squashfs_base_inode and what follows it.
func (m *Image) inode(ref uint64) (File, error) {
	c := m.ref(m.super.InodeTable, ref)
	kind, mode, uid, gid := int(c.u16()), c.u16(), int(c.u16()), int(c.u16())
	f := File{Mode: uint32(mode) & 0o7777, Time: c.u32(), Inode: c.u32()}
	extended := kind > 7
	if extended {
		kind -= 7
	}
	if c.err != nil || kind < 1 || kind > 7 || uid >= len(m.ids) || gid >= len(m.ids) {
		return f, damaged("inode %#x: %v", ref, c.err)
	}
	f.Type, f.UID, f.GID = kinds[kind], m.ids[uid], m.ids[gid]
	attributes := c.body(&f, extended)
	var err error
	if c.err == nil {
		f.Xattrs, err = m.attributes(attributes)
	}
	if c.err != nil || err != nil {
		return f, fmt.Errorf("inode %d: %w", f.Inode, first(c.err, err))
	}
	return f, nil
}

func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// body reads what depends on the type, and returns the set of attributes.
func (c *cursor) body(f *File, extended bool) (attributes uint32) {
	attributes = ^uint32(0)
	switch f.Type {
	case tar.TypeDir:
		return c.folder(f, extended)
	case tar.TypeReg:
		return c.regular(f, extended)
	case tar.TypeSymlink:
		c.u32() // names that it has
		if n := c.u32(); n > 65536 {
			c.err = damaged("a link of %d bytes", n)
		} else {
			f.Target = string(c.bytes(int(n)))
		}
	case tar.TypeBlock, tar.TypeChar:
		c.u32()
		dev := c.u32() // new_encode_dev() in the kernel's kdev_t.h
		f.Major, f.Minor = dev>>8&0xfff, dev&0xff|dev>>12&0xfff00
	default:
		c.u32()
	}
	if extended {
		attributes = c.u32()
	}
	return attributes
}

func (c *cursor) folder(f *File, extended bool) (attributes uint32) {
	if !extended {
		f.inode.start = uint64(c.u32())
		c.u32()
		f.inode.size, f.inode.offset = uint64(c.u16()), uint32(c.u16())
		return ^uint32(0)
	}
	c.u32()
	f.inode.size, f.inode.start = uint64(c.u32()), uint64(c.u32())
	c.u32() // parent
	c.u16() // entries of an index, which only lookups need
	f.inode.offset = uint32(c.u16())
	return c.u32()
}

func (c *cursor) regular(f *File, extended bool) (attributes uint32) {
	i := &f.inode
	attributes = ^uint32(0)
	if extended {
		i.start, i.size = c.u64(), c.u64()
		c.u64() // bytes in holes
		c.u32()
		i.fragment, i.offset, attributes = c.u32(), c.u32(), c.u32()
	} else {
		i.start, i.fragment, i.offset, i.size = uint64(c.u32()), c.u32(), c.u32(), uint64(c.u32())
	}
	size := uint64(c.m.super.BlockSize)
	n := i.size / size
	if i.fragment == noFragment && i.size%size != 0 {
		n++
	}
	f.Size = int64(i.size)
	if n > c.m.super.Used || n > 1<<26 { // 8 TB of blocks of 128 KiB
		c.err = damaged("a file of %d bytes", i.size)
	}
	for c.err == nil && uint64(len(i.blocks)) < n {
		i.blocks = append(i.blocks, c.u32())
	}
	return attributes
}

// content reads a regular file block by block; other files are empty.
func (m *Image) content(f File) io.Reader {
	return &content{m: m, inode: f.inode, left: uint64(f.Size)}
}

type content struct {
	m     *Image
	inode inode
	left  uint64 // not yet unpacked
	next  int
	ready []byte
}

func (c *content) Read(p []byte) (int, error) {
	for len(c.ready) == 0 {
		if c.left == 0 {
			return 0, io.EOF
		}
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.ready)
	c.ready = c.ready[n:]
	return n, nil
}

// plainBit in a size says that the block is stored as it is.
const plainBit = 1 << 24

func (c *content) fill() (err error) {
	want := int(min(c.left, uint64(c.m.super.BlockSize)))
	if c.next == len(c.inode.blocks) {
		c.ready, err = c.m.tail(c.inode, want)
	} else {
		packed := c.inode.blocks[c.next]
		size := packed &^ plainBit
		if c.ready = make([]byte, want); size != 0 { // else a hole
			c.ready, err = c.m.block(c.inode.start, int(size), packed&plainBit != 0, int(c.m.super.BlockSize))
		}
		c.inode.start += uint64(size)
		c.next++
	}
	if err == nil && len(c.ready) != want {
		err = damaged("a file's block has %d bytes, want %d", len(c.ready), want)
	}
	c.left -= uint64(want)
	return err
}

// tail is the end of a file, which shares its block with others.
func (m *Image) tail(i inode, want int) ([]byte, error) {
	start, size, err := m.fragment(i.fragment)
	if err != nil {
		return nil, err
	}
	if m.last.start != start {
		data, err := m.block(start, int(size&^plainBit), size&plainBit != 0, int(m.super.BlockSize))
		if err != nil {
			return nil, err
		}
		m.last = fragment{start, data}
	}
	if int(i.offset)+want > len(m.last.data) {
		return nil, damaged("a file's end at %d of %d bytes", i.offset, len(m.last.data))
	}
	return m.last.data[i.offset:][:want], nil
}
