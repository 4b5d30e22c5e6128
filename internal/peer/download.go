package peer

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"holdfast/internal/blob"
	"holdfast/internal/blob/ipfs"
	"holdfast/internal/oci"
)

var (
	errStalled = errors.New("no block came for too long")
	errGone    = errors.New("the peers that have it are gone")
)

// A download reads a blob as its blocks come, in order and hashed; it ends
// with a *blob.MismatchError if the whole is not what was asked for.
type download struct {
	node   *Node
	offer  agreed
	ctx    context.Context
	cancel context.CancelCauseFunc
	pipe   *io.PipeReader
	hashed io.Reader
	tasks  sync.WaitGroup
	judged bool
}

func (n *Node) download(ctx context.Context, d oci.Digest, o agreed) (*download, error) {
	r, w := io.Pipe()
	hashed, err := blob.NewReader(d, r)
	if err != nil {
		return nil, err
	}
	l := &download{node: n, offer: o, pipe: r, hashed: hashed}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	g := n.puller(o.by)
	l.tasks.Go(func() { l.cancel(n.watch(l.ctx, g, o.by)) })
	l.tasks.Go(func() {
		defer g.close()
		_ = w.CloseWithError(ipfs.Fetch(l.ctx, g, o.root, o.size, w)) // nil is io.EOF
	})
	return l, nil
}

func (l *download) Read(p []byte) (int, error) {
	n, err := l.hashed.Read(p)
	if err != nil && !l.judged {
		l.judged = true
		l.node.judge(l.offer.by, err)
	}
	if err != nil && err != io.EOF {
		err = cause(l.ctx, err)
	}
	return n, err
}

// Close ends the download, whether all came or not.
func (l *download) Close() error {
	l.cancel(nil)
	err := l.pipe.Close()
	l.tasks.Wait()
	return err
}

// judge remembers how a download from these peers ended.
func (n *Node) judge(peers []peer.ID, err error) {
	var mismatch *blob.MismatchError
	for _, p := range peers {
		switch {
		case err == io.EOF:
			n.gate.prove(p)
		case errors.Is(err, ipfs.ErrForm) || errors.As(err, &mismatch):
			n.drop(p, "offered another blob than it was asked for")
		}
	}
}

// watch returns when there is no more to hope for from the peers that offered
// a blob.
func (n *Node) watch(ctx context.Context, g *puller, by []peer.ID) error {
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

// cause says why ctx ended, if that is what err is about.
func cause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
