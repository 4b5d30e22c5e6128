package peer

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// A gate keeps out peers that lied, and knows those that were right. It
// remembers so many for so long: who makes a new key is a new peer, and must
// lie again to be noticed.
type gate struct {
	now func() time.Time

	mu     sync.Mutex
	bans   map[peer.ID]ban  // guarded by mu
	proven map[peer.ID]bool // guarded by mu
}

type ban struct {
	until  time.Time
	reason string
}

const (
	maxBans   = 1024
	banTime   = time.Hour
	maxProven = 1024
)

var _ connmgr.ConnectionGater = (*gate)(nil)

func newGate(now func() time.Time) *gate {
	return &gate{now: now, bans: map[peer.ID]ban{}, proven: map[peer.ID]bool{}}
}

// close keeps p out from now on.
func (g *gate) close(p peer.ID, reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, known := g.bans[p]; !known && len(g.bans) >= maxBans {
		g.forgetOldest()
	}
	g.bans[p] = ban{g.now().Add(banTime), reason}
	delete(g.proven, p)
}

// prove notes that p gave a right blob. Who finds no room stays a stranger.
func (g *gate) prove(p peer.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.proven) < maxProven {
		g.proven[p] = true
	}
}

func (g *gate) isProven(p peer.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.proven[p]
}

// forgetOldest makes room. Caller holds mu.
func (g *gate) forgetOldest() {
	var oldest peer.ID
	for p, b := range g.bans {
		if oldest == "" || b.until.Before(g.bans[oldest].until) {
			oldest = p
		}
	}
	delete(g.bans, oldest)
}

// open lets p in again.
func (g *gate) open(p peer.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.bans, p)
}

// closed says why p is kept out; "" when it is not.
func (g *gate) closed(p peer.ID) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	b, ok := g.bans[p]
	if ok && g.now().After(b.until) {
		delete(g.bans, p)
		return ""
	}
	return b.reason
}

// dropped lists who is kept out, and why.
func (g *gate) dropped() map[peer.ID]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make(map[peer.ID]string, len(g.bans))
	for p, b := range g.bans {
		list[p] = b.reason
	}
	return list
}

// The gate has no opinion on addresses: only a key is somebody.

func (g *gate) InterceptPeerDial(p peer.ID) bool                                { return g.closed(p) == "" }
func (g *gate) InterceptAddrDial(peer.ID, ma.Multiaddr) bool                    { return true }
func (g *gate) InterceptAccept(network.ConnMultiaddrs) bool                     { return true }
func (g *gate) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }
func (g *gate) InterceptSecured(_ network.Direction, p peer.ID, _ network.ConnMultiaddrs) bool {
	return g.closed(p) == ""
}
