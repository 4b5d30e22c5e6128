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
	f := newFetcher(ctx, g, root, size, window)
	defer f.close()
	for {
		b, err := f.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			_, err = w.Write(b)
		}
		if err != nil {
			return fmt.Errorf("fetch %s: %w", root, err)
		}
	}
}

// A fetcher holds the blocks to come in the order of the file: the front one
// is waited for, the next ones are on their way, and an interior node gives
// its place to its children.
type fetcher struct {
	ctx        context.Context
	cancel     context.CancelFunc
	getter     Getter
	window     int
	size, left int64 // of the file; what is still to come
	skip       int64 // bytes that nobody wants
	leaves     int64
	pending    []*part
	wait       sync.WaitGroup
}

func newFetcher(ctx context.Context, g Getter, root cid.Cid, size int64, window int) *fetcher {
	f := &fetcher{getter: g, window: window, size: size, left: size, pending: []*part{{cid: root}}}
	f.ctx, f.cancel = context.WithCancel(ctx)
	return f
}

func (f *fetcher) close() {
	f.cancel()
	f.wait.Wait()
}

// next gives the bytes of the next leaf, io.EOF behind the last.
func (f *fetcher) next() ([]byte, error) {
	for len(f.pending) > 0 {
		p, block, err := f.front()
		if err != nil {
			return nil, err
		}
		b, err := f.take(p, block)
		if err != nil || len(b) > 0 {
			return b, err
		}
	}
	if f.left != 0 {
		return nil, fmt.Errorf("%w: it is %d bytes long, want %d", ErrForm, f.size-f.left, f.size)
	}
	return nil, io.EOF
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

func (f *fetcher) front() (*part, blocks.Block, error) {
	for _, p := range f.pending[:min(f.window, len(f.pending))] {
		f.ask(p)
	}
	p := f.pending[0]
	f.pending = f.pending[1:]
	select {
	case r := <-p.got:
		return p, r.block, r.err
	case <-f.ctx.Done():
		return nil, nil, f.ctx.Err()
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

// take gives a leaf's bytes, or puts a node's children in its place.
func (f *fetcher) take(p *part, b blocks.Block) ([]byte, error) {
	switch p.cid.Prefix().Codec {
	case cid.Raw:
		return f.leaf(p, b.RawData())
	case cid.DagProtobuf:
	default:
		return nil, fmt.Errorf("%w: %s is neither raw nor dag-pb", ErrForm, p.cid)
	}
	n, file, err := decodeFile(b)
	if err != nil {
		return nil, err
	}
	if len(n.Links()) == 0 {
		return f.leaf(p, file.Data())
	}
	if err := f.expand(p, n, file); err != nil || len(file.Data()) == 0 {
		return nil, err
	}
	return f.leaf(p, file.Data()) // IPFS of old had data beside links
}

// decodeFile reads a node of a UnixFS file.
func decodeFile(b blocks.Block) (*merkledag.ProtoNode, *unixfs.FSNode, error) {
	n, err := merkledag.DecodeProtobuf(b.RawData())
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s: %w", ErrForm, b.Cid(), err)
	}
	file, err := unixfs.FSNodeFromBytes(n.Data())
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s: %w", ErrForm, b.Cid(), err)
	}
	if t := file.Type(); t != unixfs.TFile && t != unixfs.TRaw {
		return nil, nil, fmt.Errorf("%w: %s is a %s", ErrForm, b.Cid(), t)
	}
	return n, file, nil
}

func (f *fetcher) expand(p *part, n *merkledag.ProtoNode, file *unixfs.FSNode) error {
	links := n.Links()
	if p.depth == maxDepth {
		return fmt.Errorf("%w: more than %d levels", ErrForm, maxDepth)
	}
	if f.leaves+int64(len(f.pending)+len(links)) > f.most() {
		return f.tooMany()
	}
	if f.skip > 0 && file.NumChildren() != len(links) {
		return fmt.Errorf("%w: %s has %d children and sizes of %d", ErrForm, p.cid, len(links), file.NumChildren())
	}
	for i := 0; f.skip > 0 && len(links) > 0 && f.pass(int64(file.BlockSize(i))); i++ {
		links = links[1:]
	}
	children := make([]*part, 0, len(links)+len(f.pending))
	for _, l := range links {
		children = append(children, &part{cid: l.Cid, depth: p.depth + 1})
	}
	f.pending = append(children, f.pending...)
	return nil
}

// pass goes past a child of that many bytes if all of them are to be skipped.
func (f *fetcher) pass(size int64) bool {
	if size < 0 || size > f.skip || size > f.left {
		return false
	}
	f.skip, f.left = f.skip-size, f.left-size
	return true
}

// most is how many leaves a file of this size may have.
func (f *fetcher) most() int64 { return width + f.size/minLeaf }

func (f *fetcher) tooMany() error {
	return fmt.Errorf("%w: more than %d leaves for %d bytes", ErrForm, f.most(), f.size)
}

func (f *fetcher) leaf(p *part, b []byte) ([]byte, error) {
	if f.leaves++; f.leaves > f.most() {
		return nil, f.tooMany()
	}
	switch {
	case len(b) == 0 && p.depth > 0:
		return nil, fmt.Errorf("%w: leaf %s is empty", ErrForm, p.cid)
	case int64(len(b)) > f.left:
		return nil, fmt.Errorf("%w: it is longer than %d bytes", ErrForm, f.size)
	}
	f.left -= int64(len(b))
	n := min(f.skip, int64(len(b)))
	f.skip -= n
	return b[n:], nil
}
