// Package luks reads the header of a LUKS2 volume once, into memory.
//
// Nobody signs such a header: whoever writes the disk may change its ciphers,
// its keys and its segments between one look and the next. So a header is read
// once, is checked as a whole by a MAC of its owner's, and the volume is opened
// by the copy that was checked, written anew from what was understood.
//
// LUKS2 On-Disk Format Specification 1.1.1, sections 2 and 3.
package luks

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ErrNone says that there is no header of LUKS2 that is whole.
var ErrNone = errors.New("no LUKS2 header that is whole")

// The binary part of a header, and the sizes that a header has.
const (
	binarySize = 4096
	minSize    = 16 << 10
	maxSize    = 4 << 20
	// maxData bounds where the data begin: 16 MiB is usual.
	maxData = 64 << 20
)

const (
	offVersion, offSize, offSequence, offLabel, offAlgorithm = 6, 8, 16, 24, 72
	offSalt, offUUID, offSubsystem, offOffset, offSum        = 104, 168, 208, 256, 448
)

const (
	primary   = "LUKS\xba\xbe"
	secondary = "SKUL\xba\xbe"
)

// A Header is one of the two that a volume has, the one that was written last.
type Header struct {
	UUID, Label, Subsystem string

	size     int64 // of binary part and JSON
	sequence uint64
	binary   [binarySize]byte
	metadata map[string]any
}

// Read finds the newest header that is whole.
func Read(r io.ReaderAt) (*Header, error) {
	h, _ := readAt(r, 0, primary)
	sizes := []int64{minSize, 2 * minSize, 4 * minSize, 8 * minSize, 16 * minSize, 32 * minSize, 64 * minSize, 128 * minSize, maxSize}
	if h != nil {
		sizes = []int64{h.size}
	}
	for _, at := range sizes {
		other, err := readAt(r, at, secondary)
		if err == nil && (h == nil || other.sequence > h.sequence) {
			h = other
		}
	}
	if h == nil {
		return nil, ErrNone
	}
	return h, nil
}

func readAt(r io.ReaderAt, at int64, magic string) (*Header, error) {
	h := &Header{}
	if _, err := r.ReadAt(h.binary[:], at); err != nil {
		return nil, err
	}
	b := h.binary[:]
	h.size, h.sequence = int64(binary.BigEndian.Uint64(b[offSize:])), binary.BigEndian.Uint64(b[offSequence:])
	switch {
	case string(b[:len(magic)]) != magic || binary.BigEndian.Uint16(b[offVersion:]) != 2,
		h.size < minSize || h.size > maxSize || h.size&(h.size-1) != 0,
		int64(binary.BigEndian.Uint64(b[offOffset:])) != at, text(b[offAlgorithm:offSalt]) != "sha256":
		return nil, ErrNone
	}
	area := make([]byte, h.size-binarySize)
	if _, err := r.ReadAt(area, at+binarySize); err != nil {
		return nil, err
	}
	if sum := h.sum(area); !bytes.Equal(sum[:], b[offSum:offSum+sha256.Size]) {
		return nil, ErrNone
	}
	h.UUID, h.Label, h.Subsystem = text(b[offUUID:offSubsystem]), text(b[offLabel:offAlgorithm]), text(b[offSubsystem:offOffset])
	d := json.NewDecoder(bytes.NewReader(area[:max(0, bytes.IndexByte(area, 0))]))
	d.UseNumber()
	if err := d.Decode(&h.metadata); err != nil || h.metadata == nil {
		return nil, ErrNone
	}
	return h, nil
}

// sum is that of the whole, with zeros in its place.
func (h *Header) sum(area []byte) [sha256.Size]byte {
	b := h.binary
	clear(b[offSum : offSum+64])
	return sha256.Sum256(append(b[:], area...))
}

func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

// Token gives the tokens of a type.
func (h *Header) Token(kind string) []json.RawMessage {
	var list []json.RawMessage
	tokens, _ := h.metadata["tokens"].(map[string]any)
	for _, t := range tokens {
		if m, ok := t.(map[string]any); ok && m["type"] == kind {
			raw, _ := json.Marshal(m) // was read from JSON
			list = append(list, raw)
		}
	}
	return list
}

// Message is all that decides how the volume is opened and what is then read,
// without the tokens of a type: that which holds the MAC of the message.
func (h *Header) Message(without string) ([]byte, error) {
	metadata := map[string]any{}
	for key, value := range h.metadata {
		metadata[key] = value
	}
	tokens := map[string]any{}
	all, _ := h.metadata["tokens"].(map[string]any)
	for id, t := range all {
		if m, ok := t.(map[string]any); !ok || m["type"] != without {
			tokens[id] = t
		}
	}
	metadata["tokens"] = tokens
	raw, err := json.Marshal(metadata) // keys are sorted
	if err != nil {
		return nil, err
	}
	return append([]byte("holdfast LUKS2 header\x00"+h.UUID+"\x00"+h.Subsystem+"\x00"), raw...), nil
}

// dataOffset is where the data of the volume begin: the least offset of a segment.
func (h *Header) dataOffset() (int64, error) {
	segments, _ := h.metadata["segments"].(map[string]any)
	least := int64(-1)
	for _, s := range segments {
		m, _ := s.(map[string]any)
		word, _ := m["offset"].(string)
		offset, err := strconv.ParseInt(word, 10, 64)
		if err != nil || offset < 2*h.size || offset > maxData {
			return 0, fmt.Errorf("segment at %.20q: want %d to %d", word, 2*h.size, maxData)
		}
		if least < 0 || offset < least {
			least = offset
		}
	}
	if least < 0 {
		return 0, errors.New("no segment")
	}
	return least, nil
}

// Detach writes the header to w as it was read here, with the key slots of r:
// a header of its own, for cryptsetup's --header. There is no other copy in it
// that could be taken for it.
func (h *Header) Detach(r io.ReaderAt, w io.WriterAt) error {
	end, err := h.dataOffset()
	if err != nil {
		return err
	}
	raw, err := json.Marshal(h.metadata)
	if err != nil {
		return err
	}
	if int64(len(raw)) >= h.size-binarySize {
		return fmt.Errorf("metadata of %d bytes: want less than %d", len(raw), h.size-binarySize)
	}
	area := make([]byte, h.size-binarySize)
	copy(area, raw)
	b := h.binary
	copy(b[:], primary)
	binary.BigEndian.PutUint64(b[offOffset:], 0)
	whole := Header{binary: b}
	sum := whole.sum(area)
	clear(b[offSum : offSum+64])
	copy(b[offSum:], sum[:])
	if _, err := w.WriteAt(append(b[:], area...), 0); err != nil {
		return err
	}
	slots := 2 * h.size
	_, err = io.Copy(io.NewOffsetWriter(w, slots), io.NewSectionReader(r, slots, end-slots))
	return err
}
