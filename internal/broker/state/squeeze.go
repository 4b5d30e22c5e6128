package state

import (
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/s2"

	"holdfast/internal/plainjson"
)

// Records that handshakes leave are squeezed: they say the same things several
// times, and what they take of the disk takes longer to write than to squeeze.
// The first byte tells them from those of before, which are as they were kept.
const squeezed = 0xff // no JSON begins with it, and no form of a record

// maxRecord bounds what comes of a record that somebody changed on the disk.
const maxRecord = 64 << 20

// A squeezer uses its room again.
type squeezer struct{ rooms sync.Pool }

func (s *squeezer) squeeze(record []byte) []byte {
	room := s.room(s2.MaxEncodedLen(len(record)))
	defer s.rooms.Put(room)
	block := s2.Encode((*room)[:cap(*room)], record)
	return append(append(make([]byte, 0, 1+len(block)), squeezed), block...)
}

// squeezeJSON squeezes what becomes a record.
func (s *squeezer) squeezeJSON(v any, size int) ([]byte, error) {
	room := s.room(size)
	defer s.rooms.Put(room)
	text, err := plainjson.Append(*room, v)
	*room = text[:0]
	return s.squeeze(text), err
}

// room has at least so many bytes. Whoever has it puts it back.
func (s *squeezer) room(size int) *[]byte {
	room, _ := s.rooms.Get().(*[]byte)
	if room == nil {
		room = new([]byte)
	}
	*room = slices.Grow((*room)[:0], size)
	return room
}

func stretch(kept []byte) ([]byte, error) {
	if len(kept) == 0 || kept[0] != squeezed {
		return kept, nil
	}
	if n, err := s2.DecodedLen(kept[1:]); err != nil || n > maxRecord {
		return nil, fmt.Errorf("%w: a record of %d bytes", ErrDamaged, n)
	}
	record, err := s2.Decode(nil, kept[1:])
	if err != nil {
		return nil, fmt.Errorf("%w: a record: %w", ErrDamaged, err)
	}
	return record, nil
}
