package ipfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	format "github.com/ipfs/go-ipld-format"
)

func getterOf(bs blockstore.Blockstore) Getter { return blockservice.New(bs, offline.Exchange(bs)) }

func TestFetchedBlobIsThePeersBytes(t *testing.T) {
	for _, size := range []int64{0, 1, MaxBlock, MaxBlock + 1, 40<<20 + 3} {
		s, p := newStore(t)
		b := stream(t, size)
		dag := dagOfBlob(t, s, put(t, p, b))
		var got bytes.Buffer
		if err := Fetch(t.Context(), getterOf(s), dag.Root, dag.Size, &got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), b) {
			t.Errorf("%d bytes: other bytes came", size)
		}
	}
}

func TestFetchRefusesWhatIsNotTheFileThatWasPromised(t *testing.T) {
	s, p := newStore(t)
	dag := dagOfBlob(t, s, put(t, p, stream(t, 5<<20)))
	small := dagOfBlob(t, s, put(t, p, []byte("x"))).Root
	for name, c := range map[string]struct {
		root cid.Cid
		size int64
		make func(t *testing.T, bs blockstore.Blockstore) cid.Cid
	}{
		"longer":    {root: dag.Root, size: dag.Size - 1},
		"shorter":   {root: dag.Root, size: dag.Size + 1},
		"CBOR":      {root: cid.NewCidV1(cid.DagCBOR, small.Hash()), size: 1},
		"directory": {size: 1, make: func(t *testing.T, bs blockstore.Blockstore) cid.Cid { return add(t, bs, unixfs.EmptyDirNode()) }},
		"no UnixFS": {size: 1, make: func(t *testing.T, bs blockstore.Blockstore) cid.Cid {
			return add(t, bs, merkledag.NodeWithData([]byte("?")))
		}},
		"empty leaves": {size: 1, make: func(t *testing.T, bs blockstore.Blockstore) cid.Cid {
			return over(t, bs, add(t, bs, unixfs.EmptyFileNode()), 2)
		}},
		"many levels": {size: 1, make: func(t *testing.T, bs blockstore.Blockstore) cid.Cid {
			c := small
			for range maxDepth + 1 {
				c = over(t, bs, c, 1)
			}
			return c
		}},
		"many leaves": {size: 1 << 20, make: func(t *testing.T, bs blockstore.Blockstore) cid.Cid {
			return over(t, bs, over(t, bs, small, 1000), 1000)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var bs blockstore.Blockstore = s
			if c.make != nil {
				bs = blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
				c.root = c.make(t, bs)
				one, err := s.Get(t.Context(), small)
				if err != nil {
					t.Fatal(err)
				}
				if err := bs.Put(t.Context(), one); err != nil {
					t.Fatal(err)
				}
			}
			var got bytes.Buffer
			if err := Fetch(t.Context(), getterOf(bs), c.root, c.size, &got); !errors.Is(err, ErrForm) {
				t.Errorf("got %v", err)
			}
			if int64(got.Len()) > c.size {
				t.Errorf("%d bytes were written, %d promised", got.Len(), c.size)
			}
		})
	}
}

func add(t *testing.T, bs blockstore.Blockstore, n format.Node) cid.Cid {
	t.Helper()
	if err := bs.Put(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	return n.Cid()
}

// over makes a node with the same child several times.
func over(t *testing.T, bs blockstore.Blockstore, c cid.Cid, times int) cid.Cid {
	t.Helper()
	file, n := unixfs.NewFSNode(unixfs.TFile), &merkledag.ProtoNode{}
	for range times {
		file.AddBlockSize(1)
		if err := n.AddRawLink("", &format.Link{Size: 1, Cid: c}); err != nil {
			t.Fatal(err)
		}
	}
	data, err := file.GetBytes()
	if err != nil {
		t.Fatal(err)
	}
	n.SetData(data)
	return add(t, bs, n)
}

// A counter counts the blocks that are asked for.
type counter struct {
	Getter
	n int
}

func (c *counter) GetBlock(ctx context.Context, k cid.Cid) (blocks.Block, error) {
	c.n++
	return c.Getter.GetBlock(ctx, k)
}

func TestFileIsReadFromAnyByteWithoutTheBlocksBeforeIt(t *testing.T) {
	s, p := newStore(t)
	b := stream(t, 5<<20+9)
	root := dagOfBlob(t, s, put(t, p, b)).Root
	for skip, blocks := range map[int64]int{0: 8, 1: 8, chunkSize - 1: 8, chunkSize: 7, 5 << 20: 3, 5<<20 + 8: 3, 5<<20 + 9: 2, 6 << 20: 2} {
		g := &counter{Getter: getterOf(s)}
		f, err := OpenFile(t.Context(), g, root)
		must(t, err)
		f.Skip(skip)
		got, err := io.ReadAll(f)
		must(t, errors.Join(err, f.Close()))
		if !bytes.Equal(got, b[min(skip, f.Size):]) || g.n != blocks {
			t.Errorf("from %d: %d bytes of %d blocks, want %d of %d", skip, len(got), g.n, f.Size-min(skip, f.Size), blocks)
		}
	}
}

func TestFetchEndsWithItsContext(t *testing.T) {
	s, p := newStore(t)
	dag := dagOfBlob(t, s, put(t, p, stream(t, 5<<20)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Fetch(ctx, getterOf(s), dag.Root, dag.Size, &bytes.Buffer{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
