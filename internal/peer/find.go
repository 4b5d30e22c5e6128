package peer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"holdfast/internal/blob"
	"holdfast/internal/blob/ipfs"
	"holdfast/internal/oci"
)

const (
	laterTime    = time.Second      // for other answers after the first that says yes
	blockTime    = time.Second      // for peers that speak Bitswap only to send a block
	providerTime = 10 * time.Second // to find providers and connect to them
	stallTime    = 20 * time.Second // without a block, a download is given up
	watchPace    = 100 * time.Millisecond
	maxProviders = 10
)

// The digests of no bytes.
const (
	empty256 = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	empty512 = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce" +
		"47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
)

// Open gives the blob d from the peers that have it, and its size: first those
// that are connected are asked, then those that a provider record names. All
// bytes were verified before the first is given. It wraps ErrNotFound.
func (n *Node) Open(ctx context.Context, d oci.Digest) (io.ReadCloser, int64, error) {
	name, err := ipfs.DigestCID(d)
	if err != nil {
		return nil, 0, err
	}
	if d == empty256 || d == empty512 { // Bitswap has no way to send it
		return io.NopCloser(bytes.NewReader(nil)), 0, nil
	}
	asked := map[peer.ID]bool{}
	connected := n.host.Network().Peers()
	if r, size, err := n.from(ctx, d, name, connected, asked); !errors.Is(err, ErrNotFound) {
		return r, size, err
	}
	return n.from(ctx, d, name, n.providers(ctx, name), asked)
}

// from takes d from those of the peers that were not asked before.
func (n *Node) from(ctx context.Context, d oci.Digest, name cid.Cid, peers []peer.ID, asked map[peer.ID]bool) (io.ReadCloser, int64, error) {
	peers = slices.DeleteFunc(slices.Clone(peers), func(p peer.ID) bool { return asked[p] })
	for _, p := range peers {
		asked[p] = true
	}
	offers, plain := n.ask(ctx, peers, d)
	for _, o := range offers {
		r, err := n.take(ctx, d, o)
		if err == nil || ctx.Err() != nil {
			return r, o.size, err
		}
		n.config.Logger.Info("blob not fetched from peers", "digest", d, "root", o.root, "cause", err)
	}
	if plain > 0 {
		return n.plainBlock(ctx, d, name)
	}
	return nil, 0, fmt.Errorf("%s: %w", d, ErrNotFound)
}

// An agreed offer is made by several peers alike.
type agreed struct {
	offer
	by []peer.ID
}

// ask asks peers at the same time. The offer that most agree on is first;
// plain counts those that do not know the question. Once there is an offer,
// those that are slower, or cut off, are not waited for long.
func (n *Node) ask(ctx context.Context, peers []peer.ID, d oci.Digest) (offers []agreed, plain int) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var wait sync.WaitGroup
	for _, p := range peers {
		if ok, err := n.host.Peerstore().SupportsProtocols(p, dagProtocol); err == nil && len(ok) == 0 {
			plain++
			continue
		}
		wait.Go(func() {
			o, err := n.askDAG(ctx, p, d)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			i := slices.IndexFunc(offers, func(a agreed) bool { return a.offer == o })
			if i < 0 {
				i, offers = len(offers), append(offers, agreed{offer: o})
				time.AfterFunc(laterTime, cancel)
			}
			offers[i].by = append(offers[i].by, p)
		})
	}
	wait.Wait()
	slices.SortStableFunc(offers, func(a, b agreed) int { return cmp.Compare(len(b.by), len(a.by)) })
	return offers, plain
}

// take fetches what was offered and verifies it. Who offered something else
// than d lied.
func (n *Node) take(ctx context.Context, d oci.Digest, o agreed) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	g := &patient{session: n.session(ctx)}
	var watching sync.WaitGroup
	watching.Go(func() { cancel(n.watch(ctx, g, o.by)) })
	defer watching.Wait()
	defer cancel(nil)
	if o.size <= ipfs.MaxBlock {
		b, err := g.GetBlock(ctx, o.root)
		if err != nil {
			return nil, cause(ctx, err)
		}
		return io.NopCloser(bytes.NewReader(b.RawData())), nil
	}
	f, err := spool(n.config.TempDir)
	if err != nil {
		return nil, err
	}
	if err := n.fetch(ctx, g, d, o, f); err != nil {
		_ = f.Close()
		return nil, err
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, err
}

// fetch writes the blob to f, hashing it beside the blocks' own hashes.
func (n *Node) fetch(ctx context.Context, g ipfs.Getter, d oci.Digest, o agreed, f *os.File) error {
	r, w := io.Pipe()
	checked, err := blob.NewReader(d, r)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.CloseWithError(ipfs.Fetch(ctx, g, o.root, o.size, w)) // nil is io.EOF
	}()
	_, err = io.Copy(f, checked)
	_ = r.CloseWithError(err)
	<-done
	var mismatch *blob.MismatchError
	if errors.Is(err, ipfs.ErrForm) || errors.As(err, &mismatch) {
		for _, p := range o.by {
			n.drop(p, "offered another blob than it was asked for")
		}
	}
	return cause(ctx, err)
}

// plainBlock asks peers that know only blocks, for a blob that is one. They
// do not say that they lack it, so it waits a moment.
func (n *Node) plainBlock(ctx context.Context, d oci.Digest, name cid.Cid) (io.ReadCloser, int64, error) {
	wait, cancel := context.WithTimeout(ctx, blockTime)
	defer cancel()
	b, err := n.session(wait).GetBlock(wait, name)
	if ctx.Err() != nil {
		return nil, 0, ctx.Err()
	}
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", d, ErrNotFound)
	}
	return io.NopCloser(bytes.NewReader(b.RawData())), int64(len(b.RawData())), nil
}

// providers connects to the peers that records name.
func (n *Node) providers(ctx context.Context, name cid.Cid) []peer.ID {
	ctx, cancel := context.WithTimeout(ctx, providerTime)
	defer cancel()
	var mu sync.Mutex
	var wait sync.WaitGroup
	var found []peer.ID
	for info := range n.routing.FindProvidersAsync(ctx, name, maxProviders) {
		if info.ID == n.ID() {
			continue
		}
		wait.Go(func() {
			if err := n.host.Connect(ctx, info); err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			found = append(found, info.ID)
		})
	}
	wait.Wait()
	return found
}

var (
	errStalled = errors.New("no block came for too long")
	errGone    = errors.New("the peers that have it are gone")
)

// cause says why ctx ended, if that is what err is about.
func cause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// watch returns when there is no more to hope for from the peers that offered
// a blob.
func (n *Node) watch(ctx context.Context, g *patient, by []peer.ID) error {
	tick := time.NewTicker(watchPace)
	defer tick.Stop()
	last, idle := g.got.Load(), time.Duration(0)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if !slices.ContainsFunc(by, n.isConnected) {
			return errGone
		}
		if got := g.got.Load(); got != last {
			last, idle = got, 0
			continue
		}
		if idle += watchPace; idle >= stallTime {
			return errStalled
		}
	}
}

func (n *Node) isConnected(p peer.ID) bool {
	return n.host.Network().Connectedness(p) == network.Connected
}

// patient counts the blocks that come.
type patient struct {
	session
	got atomic.Int64
}

func (p *patient) GetBlock(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	b, err := p.session.GetBlock(ctx, c)
	if err == nil {
		p.got.Add(1)
	}
	return b, err
}

// spool makes a file that is gone when it is closed.
func spool(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".peer-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
