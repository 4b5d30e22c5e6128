package peer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/bitswap/message/pb"
	bsnet "github.com/ipfs/boxo/bitswap/network"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// A puller gets blocks from peers that said that they have them, most from the
// quickest. On the wire it is Bitswap. But it need not ask who has a block
// before it asks for it, and waits for nothing to ask for together, which is
// where a Bitswap client spends its time between two nodes that are near.
type puller struct {
	node *Node
	got  atomic.Int64 // blocks

	mu      sync.Mutex
	sources []*source // guarded by mu
}

// A source is a peer that is pulled from.
type source struct {
	peer peer.ID
	open int       // guarded by the puller's mu: blocks that it was asked for
	last time.Time // guarded by the puller's mu: when it gave one

	sending sync.Mutex
	sender  bsnet.MessageSender // guarded by sending
}

const (
	idleTime = 5 * time.Second // how long a peer may give nothing that it was asked for
	idlePace = time.Second
)

var (
	errNobody  = errors.New("no peer that said so has the block")
	errLacking = errors.New("peer lacks the block")
)

func (n *Node) puller(from []peer.ID) *puller {
	p := &puller{node: n}
	for _, id := range from {
		p.sources = append(p.sources, &source{peer: id})
	}
	return p
}

// GetBlock asks one peer after the other, first the one with least to do.
func (p *puller) GetBlock(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	p.node.asked.add(c)
	var tried []*source
	for {
		s := p.choose(tried)
		if s == nil {
			return nil, errNobody
		}
		b, err := p.from(ctx, s, c)
		p.finish(s, err == nil)
		if err == nil || ctx.Err() != nil {
			return b, err
		}
		tried = append(tried, s)
	}
}

func (p *puller) choose(tried []*source) (best *source) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.sources {
		if !slices.Contains(tried, s) && p.node.isConnected(s.peer) && (best == nil || s.open < best.open) {
			best = s
		}
	}
	if best == nil {
		return nil
	}
	if best.open == 0 {
		best.last = time.Now()
	}
	best.open++
	return best
}

func (p *puller) finish(s *source, good bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.open--
	if good {
		p.got.Add(1)
		s.last = time.Now()
	}
}

// idle says that s gave nothing for too long.
func (p *puller) idle(s *source) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(s.last) > idleTime
}

// from asks s for c and waits for it, from whomever it comes.
func (p *puller) from(ctx context.Context, s *source, c cid.Cid) (blocks.Block, error) {
	w := p.node.wants.add(c, s.peer)
	defer p.node.wants.remove(c, w)
	if err := p.ask(ctx, s, c); err != nil {
		return nil, err
	}
	tick := time.NewTicker(idlePace)
	defer tick.Stop()
	for {
		select {
		case b := <-w.answer:
			if b == nil {
				return nil, errLacking
			}
			return b, nil
		case <-tick.C:
			if p.idle(s) || !p.node.isConnected(s.peer) {
				return nil, errStalled
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (p *puller) ask(ctx context.Context, s *source, c cid.Cid) (err error) {
	m := message.New(false)
	m.AddEntry(c, 1, pb.Message_Wantlist_Block, true)
	s.sending.Lock()
	defer s.sending.Unlock()
	if s.sender == nil {
		s.sender, err = p.node.network.NewMessageSender(ctx, s.peer, &bsnet.MessageSenderOpts{SendTimeout: idleTime})
	}
	if err != nil {
		return err
	}
	return s.sender.SendMsg(ctx, m)
}

// close ends the streams.
func (p *puller) close() {
	for _, s := range p.sources {
		s.sending.Lock()
		if s.sender != nil {
			_ = s.sender.Reset()
		}
		s.sending.Unlock()
	}
}
