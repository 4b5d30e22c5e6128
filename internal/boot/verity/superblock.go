package verity

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"holdfast/internal/boot/guid"
)

// A Superblock is what the first block of a hash device says of the tree.
//
// It is not covered by the root hash. A false one cannot make false data pass
// as long as the root hash comes from elsewhere: another salt changes every
// digest, and reading is refused unless all sizes and names are the usual.
type Superblock struct {
	UUID       guid.GUID
	DataBlocks int64
	Salt       []byte
}

// onDisk is struct verity_sb of cryptsetup, lib/verity/verity.c.
type onDisk struct {
	Signature     [8]byte
	Version, Type uint32
	UUID          [16]byte
	Algorithm     [32]byte
	DataBlockSize uint32
	HashBlockSize uint32
	DataBlocks    uint64
	SaltSize      uint16
	_             [6]byte
	Salt          [MaxSalt]byte
	_             [168]byte
}

var (
	signature = [8]byte{'v', 'e', 'r', 'i', 't', 'y'}
	sha256Alg = [32]byte{'s', 'h', 'a', '2', '5', '6'}
)

func (s Superblock) block() []byte {
	d := onDisk{
		Signature: signature, Version: 1, Type: 1,
		UUID: s.UUID, Algorithm: sha256Alg,
		DataBlockSize: BlockSize, HashBlockSize: BlockSize,
		DataBlocks: uint64(s.DataBlocks), SaltSize: uint16(len(s.Salt)),
	}
	copy(d.Salt[:], s.Salt)
	b := make([]byte, BlockSize)
	_, _ = binary.Encode(b, binary.LittleEndian, &d) // fixed size, cannot fail
	return b
}

// ErrNoSuperblock says that there is no verity superblock at all.
var ErrNoSuperblock = errors.New("no dm-verity superblock")

// ReadSuperblock reads the superblock at the start of a hash device.
func ReadSuperblock(r io.Reader) (Superblock, error) {
	var d onDisk
	if err := binary.Read(r, binary.LittleEndian, &d); err != nil {
		return Superblock{}, fmt.Errorf("verity superblock: %w", err)
	}
	if d.Signature != signature {
		return Superblock{}, ErrNoSuperblock
	}
	if err := d.check(); err != nil {
		return Superblock{}, fmt.Errorf("verity superblock: %w", err)
	}
	return Superblock{
		UUID:       d.UUID,
		DataBlocks: int64(d.DataBlocks),
		Salt:       bytes.Clone(d.Salt[:d.SaltSize]),
	}, nil
}

// maxBlocks keeps sizes in bytes within an int64.
const maxBlocks = 1 << 50

func (d *onDisk) check() error {
	switch {
	case d.Version != 1 || d.Type != 1:
		return fmt.Errorf("version %d type %d, want 1 and 1", d.Version, d.Type)
	case d.Algorithm != sha256Alg:
		return fmt.Errorf("algorithm %.32q, want sha256", bytes.TrimRight(d.Algorithm[:], "\x00"))
	case d.DataBlockSize != BlockSize || d.HashBlockSize != BlockSize:
		return fmt.Errorf("blocks of %d and %d bytes, want %d", d.DataBlockSize, d.HashBlockSize, BlockSize)
	case d.DataBlocks == 0 || d.DataBlocks > maxBlocks:
		return fmt.Errorf("%d data blocks", d.DataBlocks)
	case d.SaltSize > MaxSalt:
		return fmt.Errorf("salt of %d bytes", d.SaltSize)
	}
	return nil
}
