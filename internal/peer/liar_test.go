package peer

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"

	"holdfast/internal/blob/ipfs"
	"holdfast/internal/oci"
)

// A liar has everything, and it is wrong.
type liar struct {
	Store
	block func(c cid.Cid) ([]byte, error) // what it sends as c
	dag   func(d oci.Digest) (ipfs.DAG, error)
}

func (l liar) Get(_ context.Context, c cid.Cid) (blocks.Block, error) {
	b, err := l.block(c)
	if err != nil {
		return nil, err
	}
	return blocks.NewBlockWithCid(b, c)
}

func (l liar) GetSize(context.Context, cid.Cid) (int, error) { return 1 << 20, nil }
func (l liar) Has(context.Context, cid.Cid) (bool, error)    { return true, nil }

func (l liar) DAG(ctx context.Context, d oci.Digest) (ipfs.DAG, error) {
	if l.dag == nil {
		return l.Store.DAG(ctx, d)
	}
	return l.dag(d)
}

func (s *site) wantDropped(other *site, want bool) {
	s.Helper()
	dropped := func() bool {
		return s.gate.closed(other.ID()) != "" && s.host.Network().Connectedness(other.ID()) != network.Connected
	}
	for end := time.Now().Add(20 * time.Second); want && !dropped() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	if dropped() != want {
		s.Errorf("dropped: %v (%q), want %v", dropped(), s.gate.closed(other.ID()), want)
	}
	if err := s.host.Connect(s.Context(), hostInfo(other)); (err != nil) != want {
		s.Errorf("connecting again: %v, want it refused: %v", err, want)
	}
}

func TestAPeerThatSendsWrongBytesIsDroppedAndThePullSucceeds(t *testing.T) {
	for name, size := range map[string]int{"one block": 1000, "many": 24 << 20} {
		t.Run(name, func(t *testing.T) {
			honest, asking := newSite(t, nil), newSite(t, nil)
			d := honest.put(size, 1)
			offered, err := honest.config.Store.DAG(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			wrong := newSite(t, func(c *Config) {
				c.Store = liar{c.Store, func(cid.Cid) ([]byte, error) { return []byte("wrong"), nil },
					func(oci.Digest) (ipfs.DAG, error) { return offered, nil }}
			})
			asking.join(wrong)
			if err := asking.get(d); err == nil {
				t.Fatal("the liar's bytes were taken")
			}
			asking.wantDropped(wrong, true)

			asking.gate.open(wrong.ID())
			asking.join(wrong)
			asking.join(honest)
			if err := asking.get(d); err != nil {
				t.Error(err)
			}
			asking.wantDropped(honest, false)
		})
	}
}

func TestAPeerThatOffersAnotherBlobIsDroppedAndThePullSucceeds(t *testing.T) {
	honest, wrong := newSite(t, nil), newSite(t, nil)
	asking := newSite(t, func(c *Config) { c.DHT = NoDHT }) // which would find the honest one again
	d, other := honest.put(5<<20, 1), wrong.put(6<<20, 2)
	store := wrong.config.Store
	liars := newSite(t, func(c *Config) {
		c.Store = liar{store, func(c cid.Cid) ([]byte, error) {
			b, err := store.Get(t.Context(), c)
			if err != nil {
				return nil, err
			}
			return b.RawData(), nil
		}, func(oci.Digest) (ipfs.DAG, error) { return store.DAG(t.Context(), other) }}
	})
	asking.join(liars)
	asking.join(honest)
	if err := asking.get(d); err != nil {
		t.Error(err)
	}
	// Which offer is tried first is chance; with the liar alone it is his.
	if asking.gate.closed(liars.ID()) == "" {
		_ = asking.host.Network().ClosePeer(honest.ID())
		if err := asking.get(d); !errors.Is(err, ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
	}
	asking.wantDropped(liars, true)
}

func TestAPeerThatSaysAnotherSizeIsDroppedAndThePullSucceeds(t *testing.T) {
	for _, size := range []int64{1, 2000} {
		honest, asking := newSite(t, nil), newSite(t, func(c *Config) { c.DHT = NoDHT })
		d := honest.put(1000, 1)
		wrong := newSite(t, func(c *Config) {
			c.Store = liar{c.Store, func(c cid.Cid) ([]byte, error) {
				b, err := honest.config.Store.Get(t.Context(), c)
				if err != nil {
					return nil, err
				}
				return b.RawData(), nil
			}, func(d oci.Digest) (ipfs.DAG, error) {
				own, err := ipfs.DigestCID(d)
				return ipfs.DAG{Root: own, Size: size}, err
			}}
		})
		asking.join(wrong)
		if err := asking.get(d); !errors.Is(err, ErrNotFound) {
			t.Errorf("a blob of 1000 bytes that is said to have %d: got %v, want ErrNotFound", size, err)
		}
		asking.wantDropped(wrong, true)
		asking.join(honest)
		if err := asking.get(d); err != nil {
			t.Error(err)
		}
	}
}

func TestOffersThatCannotBeAreRefused(t *testing.T) {
	d := oci.SHA256([]byte("x"))
	own, _ := ipfs.DigestCID(d)
	const root = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
	for line, want := range map[string]bool{
		own.String() + " 1": true, root + " 2097153": true,
		"": false, "none ": false, root: false, root + " ": false, root + " -1": false, root + " 1e9": false,
		root + " 2097152":         false, // it would be a block of its own name
		own.String() + " 2097153": false,
		root + " 99999999999":     false, // more than is taken
		root + " 2097153 more":    false,
	} {
		if o, err := parseOffer(line, d, 1<<30); (err == nil) != want {
			t.Errorf("%q: got %v and %v, want it taken: %v", line, o, err, want)
		}
	}
	if _, err := parseOffer(none, d, 1<<30); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

// An offer that is taken is written as it was read, and fits a block when it
// says that it is one.
//
//fuzz:parser dag.go:parseOffer,readLine
func FuzzParseOffer(f *testing.F) {
	d := oci.SHA256([]byte("x"))
	own, err := ipfs.DigestCID(d)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own.String() + " 1")
	f.Add("bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi 2097153")
	f.Add("none")
	f.Fuzz(func(t *testing.T, line string) {
		o, err := parseOffer(line, d, 1<<30)
		if err == nil && (o.size < 0 || o.size > 1<<30 || (o.size <= ipfs.MaxBlock) != o.root.Equals(own)) {
			t.Errorf("%q gives %v", line, o)
		}
	})
}

func TestTheGateRemembersOnlySoMany(t *testing.T) {
	now := time.Now()
	g := newGate(func() time.Time { return now })
	ids := make([]string, 0, maxBans+1)
	for i := range maxBans + 1 {
		ids = append(ids, string(rune('a'+i)))
		now = now.Add(time.Millisecond)
		g.close(peerID(ids[i]), "lied")
	}
	if len(g.dropped()) != maxBans || g.closed(peerID(ids[0])) != "" || g.closed(peerID(ids[maxBans])) == "" {
		t.Errorf("%d are kept out, want the last %d", len(g.dropped()), maxBans)
	}
	now = now.Add(banTime + time.Second)
	if i := slices.IndexFunc(ids, func(id string) bool { return g.closed(peerID(id)) != "" }); i >= 0 {
		t.Errorf("%d is kept out for ever", i)
	}
}
