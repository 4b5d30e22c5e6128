package broker

import "sync"

// rooms are buffers that are used again: what a handshake writes and forgets is
// most of its garbage.
type rooms struct{ pool sync.Pool }

// lend gives write an empty room, and takes back what it made of it.
func (r *rooms) lend(write func(room []byte) (text []byte, err error)) error {
	room, _ := r.pool.Get().(*[]byte)
	if room == nil {
		room = new([]byte)
	}
	text, err := write((*room)[:0])
	if cap(text) > cap(*room) && cap(text) <= maxRoom {
		*room = text
	}
	r.pool.Put(room)
	return err
}

// maxRoom is what is worth being kept.
const maxRoom = 64 << 10
