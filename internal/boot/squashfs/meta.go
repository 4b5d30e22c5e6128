package squashfs

import "io"

const metaSize = 8192 // of a block of metadata, unpacked

// A metaBlock is unpacked metadata and where the next block begins.
type metaBlock struct {
	data []byte
	next uint64
}

// maxCached bounds the unpacked metadata that is kept: 16 MiB.
const maxCached = 2048

func (m *Image) meta(at uint64) (metaBlock, error) {
	if b, ok := m.cache[at]; ok {
		return b, nil
	}
	head, err := m.block(at, 2, true, metaSize)
	if err != nil {
		return metaBlock{}, err
	}
	size := le.Uint16(head)
	length := int(size & 0x7fff)
	data, err := m.block(at+2, length, size&0x8000 != 0, metaSize)
	if err != nil {
		return metaBlock{}, err
	}
	b := metaBlock{data, at + 2 + uint64(length)}
	if len(m.cache) >= maxCached {
		clear(m.cache)
	}
	m.cache[at] = b
	return b, nil
}

// A cursor reads metadata across its blocks. Its first error stays.
type cursor struct {
	m     *Image
	block metaBlock
	at    int
	err   error
}

// cursor begins at offset of the unpacked block at start.
func (m *Image) cursor(start uint64, offset int) *cursor {
	c := &cursor{m: m, at: offset}
	if c.block, c.err = m.meta(start); c.err == nil && offset > len(c.block.data) {
		c.err = damaged("offset %d in a block of %d bytes", offset, len(c.block.data))
	}
	return c
}

// ref begins at a reference: block and offset in one number, from base.
func (m *Image) ref(base, ref uint64) *cursor {
	return m.cursor(base+ref>>16, int(ref&0xffff))
}

func (c *cursor) Read(p []byte) (int, error) {
	for c.err == nil && c.at == len(c.block.data) {
		if len(c.block.data) == 0 {
			c.err = damaged("an empty block of metadata")
			break
		}
		c.block, c.err = c.m.meta(c.block.next)
		c.at = 0
	}
	if c.err != nil {
		return 0, c.err
	}
	n := copy(p, c.block.data[c.at:])
	c.at += n
	return n, nil
}

// bytes reads the next n; after an error they are zeros.
func (c *cursor) bytes(n int) []byte {
	b := make([]byte, n)
	if c.err == nil {
		_, c.err = io.ReadFull(c, b)
	}
	return b
}

func (c *cursor) u16() uint16 { return le.Uint16(c.bytes(2)) }
func (c *cursor) u32() uint32 { return le.Uint32(c.bytes(4)) }
func (c *cursor) u64() uint64 { return le.Uint64(c.bytes(8)) }

// table reads n entries of a table whose blocks are listed at start.
func (m *Image) table(start uint64, n, entry int, read func(*cursor)) error {
	perBlock := metaSize / entry
	for i := 0; i < n; i += perBlock {
		list, err := m.block(start+uint64(i/perBlock)*8, 8, true, metaSize)
		if err != nil {
			return err
		}
		c := m.cursor(le.Uint64(list), 0)
		for range min(perBlock, n-i) {
			if read(c); c.err != nil {
				return c.err
			}
		}
	}
	return nil
}

func (m *Image) readIDs() (ids []uint32, err error) {
	err = m.table(m.super.IDTable, int(m.super.IDs), 4, func(c *cursor) { ids = append(ids, c.u32()) })
	return ids, err
}

// fragment finds where a fragment block lies: struct squashfs_fragment_entry.
func (m *Image) fragment(i uint32) (start uint64, size uint32, err error) {
	const perBlock = metaSize / 16
	if i >= m.super.Fragments {
		return 0, 0, damaged("fragment %d of %d", i, m.super.Fragments)
	}
	list, err := m.block(m.super.FragmentTable+uint64(i/perBlock)*8, 8, true, metaSize)
	if err != nil {
		return 0, 0, err
	}
	c := m.cursor(le.Uint64(list), int(i%perBlock)*16)
	start, size = c.u64(), c.u32()
	return start, size, c.err
}

// An xattrSet is the attributes that some inodes share.
type xattrSet struct {
	ref   uint64
	count uint32
}

const maxXattrs = 1 << 16

func (m *Image) readXattrSets() (sets []xattrSet, err error) {
	if m.super.XattrTable == absent {
		return nil, nil
	}
	head, err := m.block(m.super.XattrTable, 16, true, metaSize)
	if err != nil {
		return nil, err
	}
	m.at = le.Uint64(head)
	n := le.Uint32(head[8:])
	if n > m.super.Inodes || n > 1<<20 {
		return nil, damaged("%d sets of attributes for %d files", n, m.super.Inodes)
	}
	err = m.table(m.super.XattrTable+16, int(n), 16, func(c *cursor) {
		s := xattrSet{ref: c.u64(), count: c.u32()}
		c.u32()
		sets = append(sets, s)
	})
	return sets, err
}

var xattrSpaces = []string{"user.", "trusted.", "security."}

// attributes reads set i; 0xffffffff is none.
func (m *Image) attributes(i uint32) (map[string]string, error) {
	if i == ^uint32(0) {
		return nil, nil
	}
	if int(i) >= len(m.xattrs) || m.xattrs[i].count > maxXattrs {
		return nil, damaged("attributes %d of %d", i, len(m.xattrs))
	}
	c := m.ref(m.at, m.xattrs[i].ref)
	found := map[string]string{}
	for range m.xattrs[i].count {
		kind := c.u16()
		name := string(c.bytes(int(c.u16())))
		value := c.value()
		if kind&0x100 != 0 && c.err == nil { // the value lies elsewhere
			far := m.ref(m.at, le.Uint64(append(value, make([]byte, 8)...)))
			value, c.err = far.value(), far.err
		}
		if c.err != nil || int(kind&0xff) >= len(xattrSpaces) {
			return nil, damaged("attributes %d: %v", i, c.err)
		}
		found[xattrSpaces[kind&0xff]+name] = string(value)
	}
	return found, nil
}

func (c *cursor) value() []byte {
	n := c.u32()
	if n > maxXattrs { // the kernel's XATTR_SIZE_MAX
		c.err = damaged("an attribute of %d bytes", n)
	}
	if c.err != nil {
		return nil
	}
	return c.bytes(int(n))
}
