// Package verity builds and checks dm-verity hash trees.
//
// A tree's root hash names every byte of the data under it, so a disk needs
// no trust once the root hash is signed. The format is the one veritysetup
// writes: version 1, SHA-256, blocks of 4096 bytes, superblock first.
package verity

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/boot/guid"
)

// BlockSize is the size of data and hash blocks alike.
const BlockSize = 4096

// fanout is how many digests one hash block holds, so the tree grows by one
// hash block for each chunk of data.
const (
	fanout = BlockSize / sha256.Size
	chunk  = fanout * BlockSize
)

// MaxSalt is the longest salt a superblock holds.
const MaxSalt = 256

// Params fix what the data alone does not: same data and Params, same tree.
type Params struct {
	Salt []byte    // at most MaxSalt bytes
	UUID guid.GUID // of the superblock; zero derives it from the root hash
}

// A Tree is a finished hash device: superblock and hash blocks.
type Tree struct {
	Root       [32]byte
	DataBlocks int64
	UUID       guid.GUID
	device     []byte
}

// Size of the hash device in bytes, a multiple of BlockSize.
func (t *Tree) Size() int64 { return int64(len(t.device)) }

// Device is the hash device's content. It is about 1/127 of the data.
func (t *Tree) Device() []byte { return t.device }

// Build reads data to its end; its length must be a multiple of BlockSize.
func Build(data io.Reader, p Params) (*Tree, error) {
	if len(p.Salt) > MaxSalt {
		return nil, fmt.Errorf("verity salt has %d bytes, at most %d fit", len(p.Salt), MaxSalt)
	}
	bottom, blocks, err := hashData(data, p.Salt)
	if err != nil {
		return nil, err
	}
	levels, root := climb(bottom, blocks, p.Salt)
	t := &Tree{Root: root, DataBlocks: blocks, UUID: p.UUID}
	if t.UUID == (guid.GUID{}) {
		t.UUID = deriveUUID(root)
	}
	t.device = Superblock{UUID: t.UUID, DataBlocks: blocks, Salt: p.Salt}.block()
	for i := len(levels) - 1; i >= 0; i-- { // the top level lies first
		t.device = append(t.device, levels[i]...)
	}
	return t, nil
}

// deriveUUID makes a version 8 UUID (RFC 9562, section 5.8).
func deriveUUID(root [32]byte) guid.GUID {
	sum := sha256.Sum256(append([]byte("dm-verity superblock of "), root[:]...))
	u := guid.GUID(sum[:16])
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return u
}

// hashData returns one digest for each block of data, in order.
func hashData(data io.Reader, salt []byte) (digests []byte, blocks int64, err error) {
	var parts [][]byte
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for {
		buf := make([]byte, chunk)
		n, err := io.ReadFull(data, buf)
		if n%BlockSize != 0 {
			_ = g.Wait()
			if err != io.ErrUnexpectedEOF {
				return nil, 0, err
			}
			return nil, 0, fmt.Errorf("verity data: %d bytes are not a multiple of %d", blocks*BlockSize+int64(n), BlockSize)
		}
		if n > 0 {
			part := make([]byte, 0, n/fanout)
			parts = append(parts, part[:n/fanout])
			g.Go(func() error { hashBlocks(part, buf[:n], salt); return nil })
			blocks += int64(n / BlockSize)
		}
		if err == nil {
			continue
		}
		_ = g.Wait()
		return join(parts), blocks, dataError(err, blocks)
	}
}

func dataError(err error, blocks int64) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("verity data: %w", err)
	}
	if blocks == 0 {
		return errors.New("verity data is empty")
	}
	return nil
}

func join(parts [][]byte) []byte {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// hashBlocks appends the digest of each block to dst.
func hashBlocks(dst, data, salt []byte) []byte {
	h := sha256.New()
	for len(data) > 0 {
		h.Reset()
		h.Write(salt)
		h.Write(data[:BlockSize])
		dst = h.Sum(dst)
		data = data[BlockSize:]
	}
	return dst
}

// climb builds the levels over the data's digests, bottom first, each padded
// to whole blocks. One data block alone is its own root and has no level.
func climb(digests []byte, blocks int64, salt []byte) (levels [][]byte, root [32]byte) {
	for blocks > 1 {
		level := append(digests, make([]byte, -len(digests)&(BlockSize-1))...)
		levels = append(levels, level)
		digests = hashBlocks(nil, level, salt)
		blocks = int64(len(level) / BlockSize)
	}
	copy(root[:], digests)
	return levels, root
}
