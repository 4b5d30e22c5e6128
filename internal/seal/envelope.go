package seal

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// magic begins every envelope; its last byte is the version.
var magic = []byte("hfseal\x00\x01")

const (
	maxWrapped = 1024 // an RSA-8192 block; AES needs 60
	nonceSize  = 12
	tagSize    = 16
	headSize   = 8 + 16 + 2
)

// An envelope is all of a sealed value but its ciphertext.
type envelope struct {
	master  ID
	wrapped []byte // the data key
	nonce   [nonceSize]byte
}

// head is what comes before the nonce.
func (e envelope) head() []byte {
	out := make([]byte, 0, headSize+len(e.wrapped)+nonceSize)
	out = append(out, magic...)
	out = append(out, e.master[:]...)
	out = binary.BigEndian.AppendUint16(out, uint16(len(e.wrapped)))
	return append(out, e.wrapped...)
}

func (e envelope) bytes() []byte { return append(e.head(), e.nonce[:]...) }

// bound is the additional data: the head tells its own length, so that no name
// can pass for a part of it.
func (e envelope) bound(name string) []byte { return append(e.head(), name...) }

// parse reads an envelope; what is left is ciphertext and tag.
func parse(sealed []byte) (envelope, []byte, error) {
	if len(sealed) < headSize || !bytes.Equal(sealed[:len(magic)-1], magic[:len(magic)-1]) {
		return envelope{}, nil, ErrFormat
	}
	if v := sealed[len(magic)-1]; v != magic[len(magic)-1] {
		return envelope{}, nil, fmt.Errorf("%w: its version is %d, this program knows %d", ErrFormat, v, magic[len(magic)-1])
	}
	e := envelope{master: ID(sealed[8:24])}
	size, rest := int(binary.BigEndian.Uint16(sealed[24:])), sealed[headSize:]
	if size == 0 || size > maxWrapped || len(rest) < size+nonceSize+tagSize {
		return envelope{}, nil, fmt.Errorf("%w: it is cut off", ErrFormat)
	}
	e.wrapped = bytes.Clone(rest[:size])
	copy(e.nonce[:], rest[size:])
	return e, rest[size+nonceSize:], nil
}

// MasterOf names the master that an envelope needs.
func MasterOf(sealed []byte) (ID, error) {
	e, _, err := parse(sealed)
	return e.master, err
}
