// Package squashfs writes and reads squashfs 4.0 images: every file with its
// owner, mode, extended attributes and bytes, without root and without mounting.
//
// Written, the same files are the same bytes, on one processor or many and
// whatever tools are installed: a root hash that strangers can compute again
// must not hang on the version of a program. Read, an image is foreign: whatever
// its tables say, reading it ends, and takes memory for its metadata and a few
// of its blocks, never for its files.
// https://docs.kernel.org/filesystems/squashfs.html
package squashfs

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/klauspost/compress/zstd"
	"github.com/xi2/xz"
)

var le = binary.LittleEndian

// ErrFormat is matched when an image is no squashfs 4.0, or damaged.
var ErrFormat = errors.New("not a good squashfs image")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// A superblock is the head of an image: struct squashfs_super_block.
type superblock struct {
	Magic, Inodes, Time, BlockSize, Fragments       uint32
	Compression, BlockLog, Flags, IDs, Major, Minor uint16
	Root, Used, IDTable, XattrTable                 uint64
	InodeTable, DirTable, FragmentTable, Exports    uint64
}

const (
	magic    = 0x73717368
	maxBlock = 1 << 20
	absent   = ^uint64(0)
)

// An Image is open for reading.
type Image struct {
	r       io.ReaderAt
	super   superblock
	unpack  decompressor
	ids     []uint32
	xattrs  []xattrSet
	at      uint64 // of the extended attributes
	cache   map[uint64]metaBlock
	last    fragment
	visited map[uint32]bool // folders on the way and done: none may come twice
}

// A fragment block holds the ends of many files; the last one read is kept.
type fragment struct {
	start uint64
	data  []byte
}

// Open reads the head of the image in r and its tables of owners and attributes.
func Open(r io.ReaderAt) (*Image, error) {
	m := &Image{r: r, cache: map[uint64]metaBlock{}, visited: map[uint32]bool{}, last: fragment{start: absent}}
	if err := binary.Read(io.NewSectionReader(r, 0, 96), le, &m.super); err != nil {
		return nil, damaged("shorter than its head")
	}
	s := m.super
	if s.Magic != magic || s.Major != 4 || s.Minor != 0 {
		return nil, damaged("no squashfs 4.0 begins here")
	}
	if s.BlockSize < 4096 || s.BlockSize > maxBlock || bits.OnesCount32(s.BlockSize) != 1 {
		return nil, damaged("blocks of %d bytes", s.BlockSize)
	}
	var err error
	if m.unpack, err = newDecompressor(s.Compression); err != nil {
		return nil, err
	}
	if m.ids, err = m.readIDs(); err == nil {
		m.xattrs, err = m.readXattrSets()
	}
	return m, err
}

// Time is when the image says it was made, in seconds since 1970.
func (m *Image) Time() uint32 { return m.super.Time }

// BlockSize is how many bytes of a file are compressed at once.
func (m *Image) BlockSize() uint32 { return m.super.BlockSize }

// A decompressor unpacks one block of at most limit bytes.
type decompressor func(packed []byte, limit int) ([]byte, error)

// Compression names what packs the image's blocks.
func (m *Image) Compression() string { return compressions[m.super.Compression] }

var compressions = map[uint16]string{1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}

func newDecompressor(id uint16) (decompressor, error) {
	switch id {
	case 1:
		return stream(func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }), nil
	case 4:
		return stream(func(r io.Reader) (io.Reader, error) { return xz.NewReader(r, 8<<20) }), nil
	case 6:
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBlock), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, err
		}
		return func(packed []byte, _ int) ([]byte, error) { return d.DecodeAll(packed, nil) }, nil
	}
	return nil, fmt.Errorf("squashfs compression %d (%s) is not supported: want gzip, xz or zstd", id, compressions[id])
}

func stream(open func(io.Reader) (io.Reader, error)) decompressor {
	return func(packed []byte, limit int) ([]byte, error) {
		r, err := open(bytes.NewReader(packed))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(io.LimitReader(r, int64(limit)+1))
	}
}

// block reads and unpacks size bytes at offset into at most limit.
func (m *Image) block(at uint64, size int, plain bool, limit int) ([]byte, error) {
	if size > limit || at > m.super.Used {
		return nil, damaged("a block of %d bytes at %d", size, at)
	}
	packed := make([]byte, size)
	if _, err := m.r.ReadAt(packed, int64(at)); err != nil {
		return nil, damaged("block at %d: %v", at, err)
	}
	if plain {
		return packed, nil
	}
	data, err := m.unpack(packed, limit)
	if err != nil || len(data) > limit {
		return nil, damaged("block at %d does not unpack into %d bytes: %v", at, limit, err)
	}
	return data, nil
}
