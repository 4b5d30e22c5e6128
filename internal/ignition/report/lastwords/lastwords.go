// Package lastwords keeps a few words in a TPM from one boot of a machine to the
// next, for what no disk could be opened to keep.
//
// They are not secret and prove nothing: whoever has the TPM may read and write
// them. What is not whole is read as nothing.
package lastwords

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// Index is where they are, among the indexes of the owner (TCG Registry of
// Reserved TPM 2.0 Handles and Localities, 2.2.2).
const Index tpm2.TPMHandle = 0x01A0F457

const (
	size = 768 // of the index: what every TPM has room for
	head = sha256.Size + 2
	// Max is how long words may be.
	Max   = size - head
	chunk = 256 // that a command carries: no TPM takes less
)

// Words are those of one TPM.
type Words struct {
	Open func(context.Context) (transport.TPMCloser, error)
}

// Read gives the words that were written last, nil for none.
func (w Words) Read(ctx context.Context) (words []byte, err error) {
	err = w.with(ctx, func(tpm transport.TPM, index *tpm2.NamedHandle) error {
		if index == nil {
			return nil
		}
		raw := make([]byte, 0, size)
		for len(raw) < size {
			part, err := tpm2.NVRead{AuthHandle: tpm2.TPMRHOwner, NVIndex: *index, Size: min(chunk, size-uint16(len(raw))), Offset: uint16(len(raw))}.Execute(tpm)
			if errors.Is(err, tpm2.TPMRCNVUninitialized) {
				return nil
			}
			if err != nil {
				return err
			}
			if len(part.Data.Buffer) == 0 {
				return errors.New("the TPM gives less than it keeps")
			}
			raw = append(raw, part.Data.Buffer...)
		}
		words = parse(raw)
		return nil
	})
	return words, err
}

// parse is nil for what a write that was cut off has left.
func parse(raw []byte) []byte {
	if len(raw) < head {
		return nil
	}
	n := int(binary.BigEndian.Uint16(raw[sha256.Size:]))
	if n == 0 || n > len(raw)-head {
		return nil
	}
	words := raw[head:][:n]
	if sum := sha256.Sum256(words); !bytes.Equal(sum[:], raw[:sha256.Size]) {
		return nil
	}
	return words
}

// Write replaces the words; none of them leaves nothing in the TPM.
func (w Words) Write(ctx context.Context, words []byte) error {
	if len(words) > Max {
		return fmt.Errorf("last words of %d bytes: want at most %d", len(words), Max)
	}
	return w.with(ctx, func(tpm transport.TPM, index *tpm2.NamedHandle) error {
		if len(words) == 0 {
			if index == nil {
				return nil
			}
			_, err := tpm2.NVUndefineSpace{AuthHandle: tpm2.TPMRHOwner, NVIndex: *index}.Execute(tpm)
			return err
		}
		if index == nil {
			var err error
			if index, err = define(tpm); err != nil {
				return err
			}
		}
		sum := sha256.Sum256(words)
		raw := append(binary.BigEndian.AppendUint16(sum[:], uint16(len(words))), words...)
		raw = append(raw, make([]byte, size-len(raw))...)
		for at := 0; at < size; at += chunk {
			_, err := tpm2.NVWrite{AuthHandle: tpm2.TPMRHOwner, NVIndex: *index, Offset: uint16(at), Data: tpm2.TPM2BMaxNVBuffer{Buffer: raw[at:min(at+chunk, size)]}}.Execute(tpm)
			if err != nil {
				return err
			}
			if index, err = find(tpm); err != nil { // the first write changes its name
				return err
			}
		}
		return nil
	})
}

func (w Words) with(ctx context.Context, do func(transport.TPM, *tpm2.NamedHandle) error) (err error) {
	tpm, err := w.Open(ctx)
	if err != nil {
		return fmt.Errorf("open the TPM: %w", err)
	}
	defer func() { err = errors.Join(err, tpm.Close()) }()
	index, err := find(tpm)
	if err == nil {
		err = do(tpm, index)
	}
	if err != nil {
		return fmt.Errorf("last words in the TPM: %w", err)
	}
	return nil
}

// find is nil when there is no such index.
func find(tpm transport.TPM) (*tpm2.NamedHandle, error) {
	public, err := tpm2.NVReadPublic{NVIndex: Index}.Execute(tpm)
	if errors.Is(err, tpm2.TPMRCHandle) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	contents, err := public.NVPublic.Contents()
	if err == nil && contents.DataSize != size {
		err = fmt.Errorf("index %#x is somebody else's", uint32(Index))
	}
	return &tpm2.NamedHandle{Handle: Index, Name: public.NVName}, err
}

func define(tpm transport.TPM) (*tpm2.NamedHandle, error) {
	_, err := tpm2.NVDefineSpace{AuthHandle: tpm2.TPMRHOwner, PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
		NVIndex: Index, NameAlg: tpm2.TPMAlgSHA256, DataSize: size,
		Attributes: tpm2.TPMANV{OwnerWrite: true, OwnerRead: true, NoDA: true},
	})}.Execute(tpm)
	if err != nil {
		return nil, err
	}
	return find(tpm)
}
