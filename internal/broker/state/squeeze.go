package state

import (
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/s2"
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
	return unsqueeze(kept[1:])
}

func unsqueeze(block []byte) ([]byte, error) {
	if n, err := s2.DecodedLen(block); err != nil || n > maxRecord {
		return nil, fmt.Errorf("%w: a record of %d bytes", ErrDamaged, n)
	}
	record, err := s2.Decode(nil, block)
	if err != nil {
		return nil, fmt.Errorf("%w: a record: %w", ErrDamaged, err)
	}
	return record, nil
}
