package peer

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"holdfast/internal/blob/ipfs"
	"holdfast/internal/blob/pool"
	"holdfast/internal/oci"
)

// A site is a node with its blobs.
type site struct {
	testing.TB
	*Node
	pool *pool.Pool
}

var swarmKey = [32]byte{1, 2, 3}

// newSite starts a node of the tests' swarm on loopback; change may make it
// another.
func newSite(t testing.TB, change func(*Config)) *site {
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
	c := Config{
		Key: key, SwarmKey: &swarmKey, Store: store, DHT: PrivateDHT, TempDir: dir,
		Listen: []string{"/ip4/127.0.0.1/tcp/0"},
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if change != nil {
		change(&c)
	}
	n, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(n.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	return &site{t, n, blobs}
}

// put stores a blob of n bytes.
func (s *site) put(n int, seed uint64) oci.Digest {
	s.Helper()
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(b)
	d := oci.SHA256(b)
	if err := s.pool.Put(context.Background(), d, bytes.NewReader(b)); err != nil {
		s.Fatal(err)
	}
	s.Stored(d)
	if _, err := s.config.Store.DAG(context.Background(), d); err != nil { // now, not when it is asked for in 5 s
		s.Fatal(err)
	}
	return d
}

// get reads a blob from s's peers.
func (s *site) get(d oci.Digest) error {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	r, size, err := s.Open(ctx, d)
	if err != nil {
		return err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if got := oci.SHA256(b); got != d || size != int64(len(b)) {
		s.Fatalf("got %s of %d bytes, said to be %d; want %s", got, len(b), size, d)
	}
	return nil
}

func (s *site) join(other *site) {
	s.Helper()
	if err := s.host.Connect(s.Context(), hostInfo(other)); err != nil {
		s.Fatal(err)
	}
}

func hostInfo(s *site) peer.AddrInfo { return *host.InfoFromHost(s.host) }

func peerID(s string) peer.ID { return peer.ID(s) }

func TestABlobIsFoundAtAPeer(t *testing.T) {
	a, b := newSite(t, nil), newSite(t, nil)
	b.join(a)
	for name, size := range map[string]int{
		"empty": 0, "small": 100, "one block": ipfs.MaxBlock, "just above": ipfs.MaxBlock + 1, "large": 20<<20 + 17,
	} {
		t.Run(name, func(t *testing.T) {
			if err := b.get(a.put(size, uint64(size))); err != nil {
				t.Error(err)
			}
		})
	}
	if err := b.get(oci.SHA256([]byte("nobody's"))); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}
