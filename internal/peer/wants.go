package peer

import (
	"slices"
	"sync"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// wants are the blocks that downloads wait for.
type wants struct {
	mu      sync.Mutex
	waiting map[string][]*want // guarded by mu: by multihash
}

// A want is one that one peer was asked for.
type want struct {
	from   peer.ID
	answer chan blocks.Block // has room for the only one; nil says that the peer lacks it
}

func newWants() *wants { return &wants{waiting: map[string][]*want{}} }

func (w *wants) add(c cid.Cid, from peer.ID) *want {
	one := &want{from: from, answer: make(chan blocks.Block, 1)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting[string(c.Hash())] = append(w.waiting[string(c.Hash())], one)
	return one
}

func (w *wants) remove(c cid.Cid, one *want) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keep(c, func(o *want) bool { return o != one })
}

// deliver gives a block to all who wait for it, whoever sent it.
func (w *wants) deliver(b blocks.Block) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range w.waiting[string(b.Cid().Hash())] {
		one.answer <- b
	}
	delete(w.waiting, string(b.Cid().Hash()))
}

// refuse tells those who wait for c from p that it has none.
func (w *wants) refuse(c cid.Cid, p peer.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keep(c, func(o *want) bool {
		if o.from == p {
			o.answer <- nil
		}
		return o.from != p
	})
}

// keep forgets the wants of c that stay says no of: no entry is left without
// any, since peers name what they like. Caller holds mu.
func (w *wants) keep(c cid.Cid, stay func(*want) bool) {
	key := string(c.Hash())
	rest := slices.DeleteFunc(w.waiting[key], func(o *want) bool { return !stay(o) })
	if w.waiting[key] = rest; len(rest) == 0 {
		delete(w.waiting, key)
	}
}
