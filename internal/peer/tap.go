package peer

import (
	"context"
	"sync"

	"github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/exchange"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// asked remembers the blocks that were asked for last. A block's name is
// computed from its bytes when it comes: one that nobody asked for is wrong
// bytes, sent under a good name.
type asked struct {
	mu    sync.Mutex
	names map[string]int // guarded by mu: how often it is in ring
	ring  []string       // guarded by mu
	next  int            // guarded by mu
}

// maxAsked is far more than can be under way, so that a block that comes
// late, from the second of two peers, is known.
const maxAsked = 16 << 10

func newAsked() *asked { return &asked{names: map[string]int{}} }

func (a *asked) add(cids ...cid.Cid) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range cids {
		name := string(c.Hash())
		a.names[name]++
		if len(a.ring) < maxAsked {
			a.ring = append(a.ring, name)
			continue
		}
		if old := a.ring[a.next]; a.names[old] > 1 {
			a.names[old]--
		} else {
			delete(a.names, old)
		}
		a.ring[a.next] = name
		a.next = (a.next + 1) % maxAsked
	}
}

func (a *asked) has(c cid.Cid) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.names[string(c.Hash())] > 0
}

// A tap sees every message that peers send.
type tap struct{ node *Node }

func (w *tap) MessageReceived(p peer.ID, m message.BitSwapMessage) {
	for _, b := range m.Blocks() {
		if !w.node.asked.has(b.Cid()) {
			w.node.drop(p, "sent wrong bytes")
			return
		}
		w.node.wants.deliver(b)
	}
	for _, c := range m.DontHaves() {
		w.node.wants.refuse(c, p)
	}
}

func (w *tap) MessageSent(peer.ID, message.BitSwapMessage) {}

// drop lets go of a peer that lied, and keeps it out for a while.
func (n *Node) drop(p peer.ID, reason string) {
	n.gate.close(p, reason)
	n.config.Logger.Warn("peer dropped", "peer", p, "reason", reason)
	n.tasks.Go(func() { _ = n.host.Network().ClosePeer(p) }) // called by a handler of one of its streams
}

// A session gets the blocks of one blob, from all peers that have them.
type session struct {
	fetcher exchange.Fetcher
	asked   *asked
}

func (n *Node) session(ctx context.Context) session {
	return session{n.exchange.NewSession(ctx), n.asked}
}

func (s session) GetBlock(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	s.asked.add(c)
	return s.fetcher.GetBlock(ctx, c)
}

func (s session) GetBlocks(ctx context.Context, cids []cid.Cid) (<-chan blocks.Block, error) {
	s.asked.add(cids...)
	return s.fetcher.GetBlocks(ctx, cids)
}
