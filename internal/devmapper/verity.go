package devmapper

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
)

// A Superblock is what the start of a hash device says of its tree:
// https://gitlab.com/cryptsetup/cryptsetup/-/wikis/DMVerity#verity-superblock-format.
// Nobody signed it, so only the one form that we write is accepted, but for
// the UUID, which nobody reads.
type Superblock struct {
	DataBlocks uint64 // of BlockSize; the caller knows better how many there are
	Salt       []byte
}

// BlockSize is the only size of data and hash blocks that is accepted.
const BlockSize = 4096

const maxSalt = 256

// ReadSuperblock reads the first sector of a hash device.
func ReadSuperblock(r io.Reader) (Superblock, error) {
	var raw struct {
		Signature  [8]byte
		Version    uint32
		HashType   uint32
		UUID       [16]byte
		Algorithm  [32]byte
		DataBlock  uint32
		HashBlock  uint32
		DataBlocks uint64
		SaltSize   uint16
		Padding    [6]byte
		Salt       [maxSalt]byte
		Rest       [168]byte
	}
	if err := binary.Read(r, binary.LittleEndian, &raw); err != nil {
		return Superblock{}, fmt.Errorf("verity superblock: %w", err)
	}
	algorithm := string(bytes.TrimRight(raw.Algorithm[:], "\x00"))
	switch {
	case raw.Signature != [8]byte{'v', 'e', 'r', 'i', 't', 'y'}:
		return Superblock{}, fmt.Errorf("verity superblock: no signature")
	case raw.Version != 1 || raw.HashType != 1:
		return Superblock{}, fmt.Errorf("verity superblock: version %d, hash type %d: want 1 and 1", raw.Version, raw.HashType)
	case algorithm != "sha256":
		return Superblock{}, fmt.Errorf("verity superblock: hash %q: want sha256", algorithm)
	case raw.DataBlock != BlockSize || raw.HashBlock != BlockSize:
		return Superblock{}, fmt.Errorf("verity superblock: blocks of %d and %d bytes: want %d", raw.DataBlock, raw.HashBlock, BlockSize)
	case raw.SaltSize > maxSalt:
		return Superblock{}, fmt.Errorf("verity superblock: salt of %d bytes: want at most %d", raw.SaltSize, maxSalt)
	case raw.Padding != [6]byte{} || raw.Rest != [168]byte{} || !isZero(raw.Salt[raw.SaltSize:]):
		return Superblock{}, fmt.Errorf("verity superblock: something is where nothing belongs")
	case raw.DataBlocks == 0 || raw.DataBlocks > 1<<40:
		return Superblock{}, fmt.Errorf("verity superblock: %d data blocks", raw.DataBlocks)
	}
	return Superblock{DataBlocks: raw.DataBlocks, Salt: bytes.Clone(raw.Salt[:raw.SaltSize])}, nil
}

func isZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// Verity is the target that checks every block of data (a path, or
// major:minor) against hash as it is read. A block that does not match
// panics the kernel, so that nothing runs on bytes that nobody signed.
func Verity(data, hash string, root [32]byte, s Superblock) Target {
	salt := "-"
	if len(s.Salt) > 0 {
		salt = hex.EncodeToString(s.Salt)
	}
	const hashStart = 1 // the block after the superblock
	return Target{
		Length: s.DataBlocks * (BlockSize / Sector),
		Type:   "verity",
		Params: fmt.Sprintf("1 %s %s %d %d %d %d sha256 %x %s 1 panic_on_corruption",
			data, hash, BlockSize, BlockSize, s.DataBlocks, hashStart, root, salt),
	}
}
