package ipfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
)

// A Getter finds blocks, as a session of Bitswap does. It may be called by
// several goroutines and returns soon after ctx ends.
type Getter interface {
	GetBlock(context.Context, cid.Cid) (blocks.Block, error)
}

// ErrForm is wrapped by Fetch when what it gets is no DAG of a file that is
// as long as was said.
var ErrForm = errors.New("no such file")

// What a DAG may be at most; see docs/formats/ipfs.md.
const (
	window   = 32 // blocks that are under way at once
	maxDepth = 8
	minLeaf  = 4 << 10 // bytes, on average
)

// Fetch writes the UnixFS file below root to w, in order, and fails when it
// is not exactly size bytes long. Who gave root is not believed, nor is g:
// the caller knows the digest of the whole.
func Fetch(ctx context.Context, g Getter, root cid.Cid, size int64, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	f := &fetcher{ctx: ctx, getter: g, w: w, size: size, left: size, pending: []*part{{cid: root}}}
	defer f.wait.Wait()
	defer cancel()
	for len(f.pending) > 0 {
		if err := f.step(); err != nil {
			return fmt.Errorf("fetch %s: %w", root, err)
		}
	}
	if f.left != 0 {
		return fmt.Errorf("fetch %s: %w: it is %d bytes long, want %d", root, ErrForm, size-f.left, size)
	}
	return nil
}

// A fetcher holds the blocks to come in the order of the file: the front one
// is waited for, the next ones are on their way, and an interior node gives
// its place to its children.
type fetcher struct {
	ctx        context.Context
	getter     Getter
	w          io.Writer
	size, left int64
	leaves     int64
	pending    []*part
	wait       sync.WaitGroup
}

// A part is a block that is wanted.
type part struct {
	cid   cid.Cid
	depth int
	got   chan result // nil: not asked for yet
}

type result struct {
	block blocks.Block
	err   error
}

func (f *fetcher) step() error {
	for _, p := range f.pending[:min(window, len(f.pending))] {
		f.ask(p)
	}
	p := f.pending[0]
	f.pending = f.pending[1:]
	select {
	case r := <-p.got:
		if r.err != nil {
			return r.err
		}
		return f.take(p, r.block)
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
}

func (f *fetcher) ask(p *part) {
	if p.got != nil {
		return
	}
	p.got = make(chan result, 1)
	f.wait.Add(1)
	go func() {
		defer f.wait.Done()
		b, err := f.getter.GetBlock(f.ctx, p.cid)
		p.got <- result{b, err}
	}()
}

func (f *fetcher) take(p *part, b blocks.Block) error {
	if p.cid.Prefix().Codec == cid.Raw {
		return f.write(p, b.RawData())
	}
	if p.cid.Prefix().Codec != cid.DagProtobuf {
		return fmt.Errorf("%w: %s is neither raw nor dag-pb", ErrForm, p.cid)
	}
	n, err := merkledag.DecodeProtobuf(b.RawData())
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrForm, p.cid, err)
	}
	file, err := unixfs.FSNodeFromBytes(n.Data())
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrForm, p.cid, err)
	}
	if t := file.Type(); t != unixfs.TFile && t != unixfs.TRaw {
		return fmt.Errorf("%w: %s is a %s", ErrForm, p.cid, t)
	}
	if len(n.Links()) == 0 || len(file.Data()) > 0 {
		if err := f.write(p, file.Data()); err != nil {
			return err
		}
	}
	return f.expand(p, n)
}

// expand puts the children of a node in its place.
func (f *fetcher) expand(p *part, n *merkledag.ProtoNode) error {
	links := n.Links()
	if len(links) == 0 {
		return nil
	}
	if p.depth == maxDepth {
		return fmt.Errorf("%w: more than %d levels", ErrForm, maxDepth)
	}
	if f.leaves+int64(len(f.pending)+len(links)) > f.most() {
		return f.tooMany()
	}
	children := make([]*part, 0, len(links)+len(f.pending))
	for _, l := range links {
		children = append(children, &part{cid: l.Cid, depth: p.depth + 1})
	}
	f.pending = append(children, f.pending...)
	return nil
}

// most is how many leaves a file of this size may have.
func (f *fetcher) most() int64 { return width + f.size/minLeaf }

func (f *fetcher) tooMany() error {
	return fmt.Errorf("%w: more than %d leaves for %d bytes", ErrForm, f.most(), f.size)
}

func (f *fetcher) write(p *part, b []byte) error {
	if f.leaves++; f.leaves > f.most() {
		return f.tooMany()
	}
	switch {
	case len(b) == 0 && p.depth > 0:
		return fmt.Errorf("%w: leaf %s is empty", ErrForm, p.cid)
	case int64(len(b)) > f.left:
		return fmt.Errorf("%w: it is longer than %d bytes", ErrForm, f.size)
	}
	f.left -= int64(len(b))
	_, err := f.w.Write(b)
	return err
}
