package verity

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// A CorruptError names the first block that does not match its digest.
type CorruptError struct {
	Area  string // "data", "hash" or "root"
	Block int64  // counted from the start of the data or of the hash device
}

func (e *CorruptError) Error() string {
	if e.Area == "root" {
		return "verity root hash does not match the tree"
	}
	return fmt.Sprintf("verity %s block %d does not match its digest", e.Area, e.Block)
}

// Verify reads all data and the hash device and checks both against root.
func Verify(data, device io.Reader, root [32]byte) error {
	want, err := io.ReadAll(device)
	if err != nil {
		return fmt.Errorf("verity hash device: %w", err)
	}
	s, err := ReadSuperblock(bytes.NewReader(want))
	if err != nil {
		return err
	}
	got, err := Build(io.LimitReader(data, s.DataBlocks*BlockSize), Params{Salt: s.Salt, UUID: s.UUID})
	if err != nil {
		return err
	}
	if got.DataBlocks != s.DataBlocks {
		return fmt.Errorf("verity data has %d blocks, its superblock says %d", got.DataBlocks, s.DataBlocks)
	}
	if got.Root == root && bytes.Equal(got.device, want[:min(len(want), len(got.device))]) {
		return nil
	}
	return s.firstFault(got, want, root)
}

// firstFault walks down from the root, so that it blames a block only when
// the digest over it is sound.
func (s Superblock) firstFault(got *Tree, want []byte, root [32]byte) error {
	if len(want) < len(got.device) {
		return fmt.Errorf("verity hash device has %d bytes, the tree needs %d", len(want), len(got.device))
	}
	if s.DataBlocks == 1 {
		return &CorruptError{Area: "data"}
	}
	digests := root[:]
	position := int64(1)
	for _, n := range levelSizes(s.DataBlocks) {
		level := want[position*BlockSize : (position+n)*BlockSize]
		if i := mismatch(hashBlocks(nil, level, s.Salt), digests); i >= 0 {
			return blame(position, i)
		}
		digests, position = level, position+n
	}
	bottom := got.device[int64(len(got.device))-int64(len(digests)):]
	if i := mismatch(bottom, digests); i >= 0 {
		return &CorruptError{Area: "data", Block: i}
	}
	return errors.New("verity hash device differs after the tree")
}

func blame(position, i int64) error {
	if position == 1 {
		return &CorruptError{Area: "root"}
	}
	return &CorruptError{Area: "hash", Block: position + i}
}

// levelSizes lists the blocks of each level, top first.
func levelSizes(blocks int64) []int64 {
	var sizes []int64
	for blocks > 1 {
		blocks = (blocks + fanout - 1) / fanout
		sizes = append([]int64{blocks}, sizes...)
	}
	return sizes
}

// mismatch is the index of the first digest in got that differs, or -1.
func mismatch(got, want []byte) int64 {
	for i := 0; i+sha256.Size <= len(got); i += sha256.Size {
		if !bytes.Equal(got[i:i+sha256.Size], want[i:i+sha256.Size]) {
			return int64(i / sha256.Size)
		}
	}
	return -1
}
