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

// A heard node is one that announced itself: the library tells of each once in
// the hour that its announcement holds.
type heard struct {
	info    peer.AddrInfo
	failed  int // times in a row
	next    time.Time
	dialing bool
}

// Bounds of what a flood of announcements makes us do. One of another swarm is
// not understood, and given up.
const (
	maxDials = 4
	maxHeard = 256
	maxTries = 8
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
	if n == nil && len(l.heard) >= maxHeard {
		return
	}
	if n == nil {
		n = &heard{}
		l.heard[info.ID] = n
	}
	n.info, n.failed, n.next = info, 0, l.now()
	if l.host.ID() < info.ID {
		n.next = n.next.Add(retryFirst)
	}
	l.look()
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

// connect calls the nodes whose time has come, as many as there are slots.
func (l *lan) connect(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, n := range l.heard {
		if n.dialing || l.now().Before(n.next) || l.host.Network().Connectedness(id) == network.Connected {
			continue
		}
		select {
		case l.slots <- struct{}{}:
		default:
			return
		}
		n.dialing = true
		info := n.info
		l.dials.Go(func() {
			l.tried(id, dial(ctx, l.host, info))
			<-l.slots
			l.look()
		})
	}
}

func (l *lan) tried(p peer.ID, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.heard[p]
	n.dialing = false
	if err == nil {
		n.failed = 0
		return
	}
	if n.failed++; n.failed == maxTries {
		delete(l.heard, p)
		return
	}
	pause := min(retryFirst<<n.failed, retryLast)
	n.next = l.now().Add(pause/2 + rand.N(pause/2))
}

func (l *lan) close() error {
	if l.service == nil {
		return nil
	}
	return l.service.Close()
}
