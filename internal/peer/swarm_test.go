package peer

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"
	"time"

	"holdfast/internal/did"
)

func addressOf(s *site) string { return s.Status().Addresses[0] }

// soon waits until ok is true.
func soon(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func TestPeerIDAndDIDAreTheSameKey(t *testing.T) {
	s := newSite(t, nil)
	want := s.config.Key.Public().(ed25519.PublicKey)
	if got, err := keyOf(s.ID()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("PeerID holds %x, %v; want %x", got, err, want)
	}
	if got, err := did.ParseKey(s.Status().DID); err != nil || !bytes.Equal(got, want) {
		t.Errorf("DID holds %x, %v; want %x", got, err, want)
	}
}

func TestWithoutTheSwarmKeyANodeLearnsNothing(t *testing.T) {
	inside := newSite(t, nil)
	d := inside.put(1000, 1)
	for name, key := range map[string]*[32]byte{"another key": {9}, "no key": nil} {
		t.Run(name, func(t *testing.T) {
			outside := newSite(t, func(c *Config) { c.SwarmKey = key })
			if err := outside.host.Connect(t.Context(), hostInfo(inside)); err == nil {
				t.Error("it is connected")
			}
			if err := outside.get(d); !errors.Is(err, ErrNotFound) {
				t.Errorf("got %v, want ErrNotFound", err)
			}
		})
	}
}

// What a node speaks is told behind its greeting, when it has only begun.
func TestANodeThatHasYetToSayWhatItSpeaksIsAsked(t *testing.T) {
	a, b := newSite(t, nil), newSite(t, func(c *Config) { c.DHT = NoDHT })
	d := a.put(3<<20, 1)
	b.join(a)
	soon(t, "told", func() bool {
		speaks, err := b.host.Peerstore().SupportsProtocols(a.ID(), dagProtocol)
		return err == nil && len(speaks) > 0
	})
	if err := b.host.Peerstore().RemoveProtocols(a.ID(), dagProtocol); err != nil {
		t.Fatal(err)
	}
	if err := b.get(d); err != nil {
		t.Error(err)
	}
}

func TestABlobIsFoundByItsProviderRecord(t *testing.T) {
	a, middle, c := newSite(t, nil), newSite(t, nil), newSite(t, nil)
	a.join(middle)
	c.join(middle)
	soon(t, "all know the DHT", func() bool { return a.inDHT() && c.inDHT() })
	d := a.put(3<<20, 1)
	soon(t, "found", func() bool { return c.get(d) == nil })
	if !c.isConnected(a.ID()) {
		t.Error("it came from somebody else")
	}
}

func (s *site) inDHT() bool { return s.routing.ready() }

func TestEverythingIsAnnouncedAgain(t *testing.T) {
	now := time.Now()
	r := newRecords(func() time.Time { return now })
	key := []byte("blob")
	if err := r.AddProvider(t.Context(), key, hostInfo(newSite(t, nil))); err != nil {
		t.Fatal(err)
	}
	now = now.Add(reprovideTime + time.Hour)
	if list, _ := r.GetProviders(t.Context(), key); len(list) != 1 {
		t.Error("a record is old before it is renewed")
	}
	now = now.Add(recordTime)
	if list, _ := r.GetProviders(t.Context(), key); len(list) != 0 {
		t.Error("a record is kept for ever")
	}
}

func TestListedPeersAreConnectedAgain(t *testing.T) {
	a := newSite(t, nil)
	b := newSite(t, func(c *Config) { c.Peers = []string{addressOf(a)} })
	soon(t, "connected", func() bool { return b.isConnected(a.ID()) })
	_ = b.host.Network().ClosePeer(a.ID())
	soon(t, "connected again", func() bool { return b.isConnected(a.ID()) })
	if rtt, err := b.Ping(t.Context(), a.ID().String()); err != nil || rtt <= 0 {
		t.Errorf("ping: got %v, %v", rtt, err)
	}
	if err := b.Remove(a.ID().String()); err != nil {
		t.Error(err)
	}
	if err := b.Remove(a.ID().String()); !errors.Is(err, ErrUnknownPeer) {
		t.Errorf("got %v, want ErrUnknownPeer", err)
	}
	soon(t, "disconnected", func() bool { return !b.isConnected(a.ID()) })
	if err := b.Add(addressOf(b)); err == nil {
		t.Error("a node was listed as its own peer")
	}
}
