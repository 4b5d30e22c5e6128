package broker

import (
	"bytes"
	"sync"
)

// A desk is the room that one request writes in. The next one writes over it:
// what outlives the request is copied.
type desk struct {
	body                                  bytes.Buffer
	claims, payload, token, input, record []byte
}

func newDesk() *desk { return &desk{claims: make([]byte, 0, 8<<10)} }

// desks are used again: what a handshake writes and forgets is most of its
// garbage.
type desks struct{ pool sync.Pool }

func (all *desks) take() *desk {
	if d, ok := all.pool.Get().(*desk); ok {
		return d
	}
	return newDesk()
}

// maxRoom is what is worth being kept, of each room.
const maxRoom = 64 << 10

// put clears the desk for the next.
func (all *desks) put(d *desk) {
	d.body.Reset()
	for _, room := range []*[]byte{&d.claims, &d.payload, &d.token, &d.input, &d.record} {
		*room = (*room)[:0]
		if cap(*room) > maxRoom {
			return
		}
	}
	if d.body.Cap() <= maxRoom {
		all.pool.Put(d)
	}
}
