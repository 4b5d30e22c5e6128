package control

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/blob/ipfs"
	"holdfast/internal/blob/pool"
	"holdfast/internal/peer"
)

func newNode(t *testing.T, listen ...string) *peer.Node {
	t.Helper()
	dir := t.TempDir()
	blobs, err := pool.New(filepath.Join(dir, pool.Dir))
	if err != nil {
		t.Fatal(err)
	}
	store, err := ipfs.New(ipfs.Config{Pool: blobs, Dir: filepath.Join(dir, ipfs.Dir)})
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := peer.New(peer.Config{Key: key, SwarmKey: &[32]byte{1}, Store: store, Listen: listen})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(n.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	return n
}

func TestARunningNodeIsControlledFromOutside(t *testing.T) {
	other, own := newNode(t, "/ip4/127.0.0.1/tcp/0"), newNode(t)
	server := httptest.NewServer(Handler(own))
	defer server.Close()
	c := NewClient(func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", server.Listener.Addr().String())
	})
	where := other.Status().Addresses[0]
	if err := c.Add(t.Context(), where); err != nil {
		t.Fatal(err)
	}
	if took, err := c.Ping(t.Context(), where); err != nil || took <= 0 {
		t.Errorf("got %v and %v", took, err)
	}
	s, err := c.Status(t.Context())
	if err != nil || len(s.Peers) != 1 || s.Peers[0].ID != other.ID().String() || !s.Peers[0].Listed || !s.Peers[0].Connected {
		t.Errorf("got %+v and %v", s, err)
	}
	if err := c.Remove(t.Context(), other.ID().String()); err != nil {
		t.Error(err)
	}
	if err := c.Remove(t.Context(), other.ID().String()); !errors.Is(err, peer.ErrUnknownPeer) {
		t.Errorf("got %v, want ErrUnknownPeer", err)
	}
	if err := c.Add(t.Context(), "nowhere"); err == nil || !strings.HasPrefix(err.Error(), `peer "nowhere": want`) {
		t.Errorf("got %v", err)
	}
}
