package image

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"

	"holdfast/internal/boot/squashfs"
)

// blocks keeps the compressed blocks of an image's root for its next build:
// one file, which the next whole build replaces. It begins with what compressed
// them; each block follows its SHA-256 and its size, 32 bits, little-endian.
type blocks struct {
	old   *os.File
	index map[[32]byte]span
	new   *os.File
	out   *bufio.Writer
}

type span struct {
	offset int64
	size   uint32
}

const (
	blockHead = 32 + 4
	maxBlock  = 1 << 20 // of squashfs
)

// openBlocks opens what the last build left at path, if anything, and begins
// the next. A file that cannot be read is as none.
func openBlocks(path string) (*blocks, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	b := &blocks{index: map[[32]byte]span{}}
	var err error
	if b.new, err = os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*"); err != nil {
		return nil, err
	}
	b.out = bufio.NewWriterSize(b.new, 1<<20)
	_, err = b.out.WriteString(squashfs.CodecID() + "\n")
	if b.old, _ = os.Open(path); b.old != nil {
		b.read()
	}
	return b, err
}

// read indexes the old file, up to where it makes no sense.
func (b *blocks) read() {
	in := bufio.NewReader(b.old)
	line, err := in.ReadString('\n')
	if err != nil || line != squashfs.CodecID()+"\n" || line == "\n" {
		return
	}
	at := int64(len(line))
	for head := make([]byte, blockHead); ; {
		if _, err := io.ReadFull(in, head); err != nil {
			return
		}
		s := span{at + blockHead, binary.LittleEndian.Uint32(head[32:])}
		if s.size > maxBlock {
			return
		}
		if _, err := in.Discard(int(s.size)); err != nil {
			return
		}
		b.index[[32]byte(head[:32])] = s
		at = s.offset + int64(s.size)
	}
}

// Get implements squashfs.Cache.
func (b *blocks) Get(sum [32]byte) []byte {
	s, ok := b.index[sum]
	if !ok {
		return nil
	}
	packed := make([]byte, s.size)
	if _, err := b.old.ReadAt(packed, s.offset); err != nil {
		return nil
	}
	return packed
}

// Put implements squashfs.Cache.
func (b *blocks) Put(sum [32]byte, packed []byte) error {
	head := binary.LittleEndian.AppendUint32(sum[:], uint32(len(packed)))
	_, headErr := b.out.Write(head)
	_, err := b.out.Write(packed)
	return errors.Join(headErr, err)
}

// keep makes the new file the one at path.
func (b *blocks) keep(path string) error {
	if b == nil {
		return nil
	}
	if err := b.out.Flush(); err != nil {
		return err
	}
	return os.Rename(b.new.Name(), path)
}

func (b *blocks) close() {
	if b == nil {
		return
	}
	_ = b.new.Close()
	_ = os.Remove(b.new.Name()) // if it was not kept
	if b.old != nil {
		_ = b.old.Close()
	}
}
