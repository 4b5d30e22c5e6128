package peer

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
)

// A lan finds nodes on the local network, when that is wanted: it tells
// everybody there that this node exists, and stays connected to those it hears.
type lan struct {
	host    host.Host
	service mdns.Service // nil: off
	slots   chan struct{}
	wake    chan struct{}
	dials   sync.WaitGroup
	now     func() time.Time

	mu    sync.Mutex
	heard map[peer.ID]*heard // guarded by mu
}

// A heard node is one that announced itself: the library tells of each once,
// and again when its announcement no longer holds.
type heard struct {
	info    peer.AddrInfo
	until   time.Time // the announcement holds
	next    time.Time // when it may be called
	calls   int       // since it was connected for a while
	dialing bool
}

// Bounds of what a flood of announcements makes us do.
const (
	maxDials  = 4
	maxHeard  = 256
	heardTime = time.Hour
	callLast  = 5 * time.Minute // between calls of one that does not answer, or is not understood
)

func newLAN(h host.Host, c Config) *lan {
	l := &lan{host: h, slots: make(chan struct{}, maxDials), wake: make(chan struct{}, 1), now: c.Now, heard: map[peer.ID]*heard{}}
	if c.MDNS {
		l.service = mdns.NewMdnsService(h, "", l)
	}
	return l
}

func (l *lan) start() error {
	if l.service == nil {
		return nil
	}
	return l.service.Start()
}

// HandlePeerFound notes a node that was heard. Two that hear each other would
// call each other at once, from the ports at which they are called, and neither
// call would be understood: so one of them waits to be called first.
func (l *lan) HandlePeerFound(info peer.AddrInfo) {
	if info.ID == l.host.ID() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.heard[info.ID]
	if n == nil {
		l.makeRoom()
		n = &heard{}
		l.heard[info.ID] = n
	}
	n.info, n.calls, n.next = info, 0, l.now()
	n.until = n.next.Add(heardTime)
	if l.host.ID() < info.ID {
		n.next = n.next.Add(retryFirst)
	}
	l.look()
}

// makeRoom forgets one that was called most, and in vain. Caller holds mu.
func (l *lan) makeRoom() {
	if len(l.heard) < maxHeard {
		return
	}
	var worst peer.ID
	for id, n := range l.heard {
		if !l.isConnected(id) && (worst == "" || n.calls > l.heard[worst].calls) {
			worst = id
		}
	}
	delete(l.heard, worst)
}

// forget is for one that a person does not want.
func (l *lan) forget(p peer.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.heard, p)
}

func (l *lan) isConnected(p peer.ID) bool {
	return l.host.Network().Connectedness(p) == network.Connected
}

// look has run look at once.
func (l *lan) look() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run connects to whom it hears until ctx ends.
func (l *lan) run(ctx context.Context) {
	defer l.dials.Wait()
	tick := time.NewTicker(keepPace)
	defer tick.Stop()
	for {
		l.connect(ctx)
		select {
		case <-tick.C:
		case <-l.wake:
		case <-ctx.Done():
			return
		}
	}
}

// connect calls the nodes whose time has come, as many as there are slots, and
// none while there are so many connections that some would be closed for it.
func (l *lan) connect(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, n := range l.heard {
		switch now := l.now(); {
		case n.dialing || now.Before(n.next):
			continue
		case l.isConnected(id):
			n.calls = 0
			continue
		case now.After(n.until):
			delete(l.heard, id)
			continue
		}
		if len(l.host.Network().Peers()) >= lowPeers {
			return
		}
		select {
		case l.slots <- struct{}{}:
		default:
			return
		}
		l.call(ctx, n)
	}
}

// call has taken a slot. However it ends, the next call is later: who takes a
// call and ends it is not called at once either. Caller holds mu.
func (l *lan) call(ctx context.Context, n *heard) {
	pause := min(retryFirst<<min(n.calls, 16), callLast)
	n.dialing, n.calls, n.next = true, n.calls+1, l.now().Add(pause/2+rand.N(pause/2))
	info := n.info
	l.dials.Go(func() {
		_ = dial(ctx, l.host, info) // there is another call
		<-l.slots
		l.mu.Lock()
		n.dialing = false
		l.mu.Unlock()
		l.look()
	})
}

func (l *lan) close() error {
	if l.service == nil {
		return nil
	}
	return l.service.Close()
}
