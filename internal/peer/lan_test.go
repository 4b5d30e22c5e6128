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

// calls counts those that ended.
func (l *lan) calls(p peer.ID) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := l.heard[p]; n != nil && !n.dialing {
		return n.calls
	}
	return 0
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
	soon(t, "called in vain", func() bool { return a.lan.calls(id) > 0 })
	b := newSite(t, func(c *Config) { c.Key, c.Listen = key, []string{address} })
	soon(t, "connected", func() bool { return b.isConnected(a.ID()) })
	_ = b.host.Network().ClosePeer(a.ID())
	soon(t, "connected again", func() bool { return b.isConnected(a.ID()) })
}

func TestTwoThatHearEachOtherDoNotCallAtOnce(t *testing.T) {
	began := time.Now()
	stands := func(c *Config) { c.Now = func() time.Time { return began } } // who waits to be called waits for ever
	a, b := newSite(t, stands), newSite(t, stands)
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

func nobody(n int) peer.AddrInfo {
	return peer.AddrInfo{ID: peerID(fmt.Sprint("nobody", n)), Addrs: []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/tcp/1")}}
}

func TestWhoNeverAnswersIsForgottenWhenItsAnnouncementNoLongerHolds(t *testing.T) {
	began := time.Now()
	a := newSite(t, func(c *Config) {
		c.Now = func() time.Time { return began.Add(1000 * time.Since(began)) } // an hour in 3.6 s
	})
	a.lan.HandlePeerFound(nobody(0))
	soon(t, "called", func() bool { return a.lan.calls(nobody(0).ID) > 0 })
	soon(t, "forgotten", func() bool { return a.lan.known() == 0 })
}

// Who takes calls and ends them is called with pauses too.
func TestWhoEndsCallsIsCalledWithPauses(t *testing.T) {
	a, b := newSite(t, nil), newSite(t, nil)
	b.gate.close(a.ID(), "sent something else than it was asked for")
	a.lan.HandlePeerFound(hostInfo(b))
	soon(t, "called", func() bool { return a.lan.calls(b.ID()) > 0 })
	time.Sleep(4 * time.Second)
	if got := a.lan.calls(b.ID()); got > 4 {
		t.Errorf("called %d times", got)
	}
}

func TestAFloodOfAnnouncementsKeepsNobodyOut(t *testing.T) {
	a, b := newSite(t, nil), newSite(t, nil)
	for n := range 10 * maxHeard {
		a.lan.HandlePeerFound(nobody(n))
	}
	if got := a.lan.known(); got != maxHeard {
		t.Errorf("%d are noted, want %d", got, maxHeard)
	}
	a.lan.HandlePeerFound(hostInfo(b))
	soon(t, "connected", func() bool { return a.isConnected(b.ID()) })
}

func TestOneThatAPersonRemovesIsNotCalledAgain(t *testing.T) {
	b := newSite(t, nil)
	a := newSite(t, func(c *Config) { c.Peers = []string{addressOf(b)} })
	a.lan.HandlePeerFound(hostInfo(b))
	soon(t, "connected", func() bool { return a.isConnected(b.ID()) })
	if err := a.Remove(b.ID().String()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(keepPace + time.Second)
	if a.isConnected(b.ID()) || a.lan.known() != 0 {
		t.Error("it is connected again")
	}
}
