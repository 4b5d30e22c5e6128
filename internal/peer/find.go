package peer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multistream"

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
// that are connected are asked, then those that a provider record names. Every
// block is verified before it is given, and the last Read gives a
// *blob.MismatchError instead of io.EOF when the whole is not d. It wraps
// ErrNotFound.
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

// weight says which offer to believe first: that of peers who were right
// before, then that of more peers.
func (n *Node) weight(a agreed) int {
	weight := len(a.by)
	if slices.ContainsFunc(a.by, n.gate.isProven) {
		weight += highPeers + lowPeers
	}
	return weight
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
		if n.isPlain(p) {
			plain++
			continue
		}
		wait.Go(func() {
			o, err := n.askDAG(ctx, p, d)
			mu.Lock()
			defer mu.Unlock()
			var unknown multistream.ErrNotSupported[protocol.ID]
			switch {
			case errors.As(err, &unknown):
				plain++
				return
			case err != nil:
				return
			}
			i := slices.IndexFunc(offers, func(a agreed) bool { return a.offer == o })
			if i < 0 {
				i, offers = len(offers), append(offers, agreed{offer: o})
				time.AfterFunc(laterTime, cancel)
			}
			offers[i].by = append(offers[i].by, p)
		})
	}
	wait.Wait()
	slices.SortStableFunc(offers, func(a, b agreed) int { return cmp.Compare(n.weight(b), n.weight(a)) })
	return offers, plain
}

// isPlain says that a peer knows only blocks. One of which nothing is known yet,
// or one of ours, may not have told all that it speaks: it has only begun.
func (n *Node) isPlain(p peer.ID) bool {
	speaks, err := n.host.Peerstore().GetProtocols(p)
	return err == nil && len(speaks) > 0 && !slices.Contains(speaks, dagProtocol) && n.agent(p) != userAgent
}

// take fetches what was offered. From peers that gave a right blob before it is
// given while it comes; what strangers give is verified first, so that a lie
// costs nobody his download.
func (n *Node) take(ctx context.Context, d oci.Digest, o agreed) (io.ReadCloser, error) {
	if o.size <= ipfs.MaxBlock {
		return n.takeBlock(ctx, o)
	}
	l, err := n.download(ctx, d, o)
	if err != nil || slices.ContainsFunc(o.by, n.gate.isProven) {
		return l, err
	}
	defer l.Close()
	f, err := spool(n.config.TempDir, o.size)
	if err != nil {
		return nil, err
	}
	if _, err = io.Copy(struct{ io.Writer }{f}, l); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// takeBlock fetches a blob that is one block, whose name is its digest.
func (n *Node) takeBlock(ctx context.Context, o agreed) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	g := n.puller(o.by)
	defer g.close()
	var watching sync.WaitGroup
	watching.Go(func() { cancel(n.watch(ctx, g, o.by)) })
	defer watching.Wait()
	defer cancel(nil)
	b, err := g.GetBlock(ctx, o.root)
	if err != nil {
		return nil, cause(ctx, err)
	}
	if got := int64(len(b.RawData())); got != o.size { // which a client may have been told
		err := fmt.Errorf("%w: it is %d bytes long, want %d", ipfs.ErrForm, got, o.size)
		n.judge(o.by, err)
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(b.RawData())), nil
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
