package peer

import (
	"crypto/ed25519"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"holdfast/test/port"
)

func (l *lan) failures(p peer.ID) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := l.heard[p]; n != nil {
		return n.failed
	}
	return -1
}

func (l *lan) known() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.heard)
}

// An announcement is told once: the first call is not the only one.
func TestANodeThatWasHeardIsCalledUntilItAnswers(t *testing.T) {
	a := newSite(t, nil)
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	private, err := crypto.UnmarshalEd25519PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	_, number, err := net.SplitHostPort(port.Address(t))
	if err != nil {
		t.Fatal(err)
	}
	address := "/ip4/127.0.0.1/tcp/" + number
	a.lan.HandlePeerFound(peer.AddrInfo{ID: id, Addrs: []ma.Multiaddr{ma.StringCast(address)}})
	soon(t, "called in vain", func() bool { return a.lan.failures(id) > 0 })
	b := newSite(t, func(c *Config) { c.Key, c.Listen = key, []string{address} })
	soon(t, "connected", func() bool { return b.isConnected(a.ID()) })
	_ = b.host.Network().ClosePeer(a.ID())
	soon(t, "connected again", func() bool { return b.isConnected(a.ID()) })
}

func TestTwoThatHearEachOtherDoNotCallAtOnce(t *testing.T) {
	a, b := newSite(t, nil), newSite(t, nil)
	a.lan.HandlePeerFound(hostInfo(b))
	b.lan.HandlePeerFound(hostInfo(a))
	soon(t, "connected", func() bool { return a.isConnected(b.ID()) && b.isConnected(a.ID()) })
	first, second := a, b
	if b.ID() > a.ID() {
		first, second = b, a
	}
	for name, c := range map[string]struct {
		at    *site
		other peer.ID
		want  int
	}{"who calls": {first, second.ID(), 1}, "who is called": {second, first.ID(), 0}} {
		calls := 0
		for _, conn := range c.at.host.Network().ConnsToPeer(c.other) {
			if conn.Stat().Direction == network.DirInbound {
				continue
			}
			calls++
		}
		if calls != c.want {
			t.Errorf("%s: %d calls, want %d", name, calls, c.want)
		}
	}
}

func TestWhoNeverAnswersIsGivenUp(t *testing.T) {
	began := time.Now()
	a := newSite(t, func(c *Config) {
		c.Now = func() time.Time { return began.Add(1000 * time.Since(began)) } // pauses pass
	})
	a.lan.HandlePeerFound(peer.AddrInfo{ID: peerID("nobody"), Addrs: []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/tcp/1")}})
	if a.lan.known() != 1 {
		t.Error("it is not noted")
	}
	soon(t, "given up", func() bool { return a.lan.known() == 0 })
}

func TestAFloodOfAnnouncementsIsBounded(t *testing.T) {
	a := newSite(t, nil)
	for n := range 10 * maxHeard {
		a.lan.HandlePeerFound(peer.AddrInfo{ID: peerID(fmt.Sprint("node", n)), Addrs: []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/tcp/1")}})
	}
	if got := a.lan.known(); got > maxHeard {
		t.Errorf("%d are noted, want %d at most", got, maxHeard)
	}
}
