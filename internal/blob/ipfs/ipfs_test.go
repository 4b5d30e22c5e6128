package ipfs

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	chunker "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	unixfs "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	format "github.com/ipfs/go-ipld-format"

	"holdfast/internal/blob"
	"holdfast/internal/blob/pool"
	"holdfast/internal/oci"
)

// keystream is bytes that anybody can make again:
//
//	head -c N /dev/zero | openssl enc -aes-128-ctr -nosalt -K 0 -iv 0
func keystream(size int64) io.Reader {
	block, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		panic(err)
	}
	zeros := io.LimitReader(zeroes{}, size)
	return &cipher.StreamReader{S: cipher.NewCTR(block, make([]byte, 16)), R: zeros}
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func newStore(t testing.TB) (*Store, *pool.Pool) {
	t.Helper()
	dir := t.TempDir()
	return openStore(t, dir), openPool(t, dir)
}

func openPool(t testing.TB, dir string) *pool.Pool {
	t.Helper()
	p, err := pool.New(filepath.Join(dir, pool.Dir))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func openStore(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := New(Config{Pool: openPool(t, dir), Dir: filepath.Join(dir, Dir), Quiet: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// put makes a blob of b.
func put(t testing.TB, p *pool.Pool, b []byte) oci.Digest {
	t.Helper()
	d := oci.SHA256(b)
	if err := p.Put(t.Context(), d, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	return d
}

func stream(t testing.TB, size int64) []byte {
	t.Helper()
	b, err := io.ReadAll(keystream(size))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func dagOfBlob(t testing.TB, s *Store, d oci.Digest) DAG {
	t.Helper()
	dag, err := s.DAG(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return dag
}

// importer makes a file's DAG as boxo does.
func importer(t testing.TB, r io.Reader) (format.Node, blockstore.Blockstore) {
	t.Helper()
	p := unixfs.UnixFS_v1_2025
	bs := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	params := helpers.DagBuilderParams{
		Maxlinks: p.FileDAGWidth, RawLeaves: p.RawLeaves, CidBuilder: p.CidBuilder(),
		Dagserv: merkledag.NewDAGService(blockservice.New(bs, offline.Exchange(bs))),
	}
	builder, err := params.New(chunker.NewSizeSplitter(r, p.ChunkSize))
	if err != nil {
		t.Fatal(err)
	}
	n, err := balanced.Layout(builder)
	if err != nil {
		t.Fatal(err)
	}
	return n, bs
}

func TestLargeBlobsHaveTheRootThatBoxoGivesThem(t *testing.T) {
	for _, size := range []int64{MaxBlock + 1, 3 << 20, 3<<20 + 1, 10<<20 - 1, 100 << 20} {
		want, _ := importer(t, keystream(size))
		got, _, err := BuildUnnamed(t.Context(), keystream(size))
		if err != nil {
			t.Fatal(err)
		}
		if got.Root != want.Cid() || got.Size != size {
			t.Errorf("%d bytes: root %s of %d, boxo has %s", size, got.Root, got.Size, want.Cid())
		}
	}
}

func TestBlobOfOneBlockIsNamedByItsDigest(t *testing.T) {
	s, p := newStore(t)
	for _, size := range []int64{0, 1, chunkSize, chunkSize + 1, MaxBlock} {
		b := stream(t, size)
		d := put(t, p, b)
		dag := dagOfBlob(t, s, d)
		if want := sha256.Sum256(b); hex.EncodeToString(dag.Root.Hash()) != "1220"+hex.EncodeToString(want[:]) || dag.Root.Type() != cid.Raw {
			t.Errorf("%d bytes: %s", size, dag.Root)
		}
		block, err := s.Get(t.Context(), dag.Root)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(block.RawData(), b) {
			t.Errorf("%d bytes: other bytes came", size)
		}
	}
	if _, err := os.Stat(s.config.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("something was written for them:", err)
	}
}

func TestEveryBlockOfBoxosDAGIsServedFromTheBlobsFile(t *testing.T) {
	s, p := newStore(t)
	b := stream(t, 5<<20+7)
	want, blocks := importer(t, bytes.NewReader(b))
	if dag := dagOfBlob(t, s, put(t, p, b)); dag.Root != want.Cid() {
		t.Fatalf("root is %s", dag.Root)
	}
	keys, err := blocks.AllKeysChan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for c := range keys {
		theirs, err := blocks.Get(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := s.Get(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		size, err := s.GetSize(t.Context(), c)
		if !bytes.Equal(ours.RawData(), theirs.RawData()) || size != len(theirs.RawData()) || err != nil {
			t.Errorf("%s: %d bytes, boxo has %d; %v", c, size, len(theirs.RawData()), err)
		}
	}
}

func TestChangedByteOnDiskIsNeverServed(t *testing.T) {
	s, p := newStore(t)
	s.Start()
	rotten := make(chan oci.Digest, 10)
	s.config.Rotten = func(d oci.Digest) { rotten <- d }
	b := stream(t, 3<<20)
	d := put(t, p, b)
	root := dagOfBlob(t, s, d).Root
	leaf, err := raw.Sum(b[chunkSize : 2*chunkSize])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), leaf); err != nil {
		t.Fatal(err)
	}
	flip(t, p, d, chunkSize+100)
	if b, err := s.Get(t.Context(), leaf); !format.IsNotFound(err) {
		t.Fatalf("got %v, %v", b, err)
	}
	select {
	case got := <-rotten:
		if got != d {
			t.Errorf("%s rotted, want %s", got, d)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nobody was told")
	}
	if ok, err := s.Has(t.Context(), root); ok || err != nil {
		t.Errorf("the root is still there: %v, %v", ok, err)
	}
	if _, err := s.DAG(t.Context(), d); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func flip(t *testing.T, p *pool.Pool, d oci.Digest, at int64) {
	t.Helper()
	f, err := p.File(d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := []byte{0}
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(f.Name(), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.WriteAt([]byte{b[0] ^ 1}, at); err != nil {
		t.Fatal(err)
	}
}

func TestRottenBlobGetsNoDAG(t *testing.T) {
	s, p := newStore(t)
	d := put(t, p, stream(t, 3<<20))
	flip(t, p, d, 5)
	var rotten *blob.MismatchError
	if _, err := s.DAG(t.Context(), d); !errors.As(err, &rotten) {
		t.Fatalf("got %v", err)
	}
	if ok, _ := p.Has(t.Context(), d); ok {
		t.Error("it is still in the pool")
	}
}

func TestBlobBySHA512IsFoundByThatAndHasTheSameDAG(t *testing.T) {
	s, p := newStore(t)
	for _, size := range []int64{100, 3 << 20} {
		b := stream(t, size)
		sum := sha512.Sum512(b)
		d := oci.Digest("sha512:" + hex.EncodeToString(sum[:]))
		if err := p.Put(t.Context(), d, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		dag := dagOfBlob(t, s, d)
		if size > MaxBlock {
			if other := dagOfBlob(t, s, put(t, p, b)); other.Root != dag.Root {
				t.Errorf("%s, by sha256 %s", dag.Root, other.Root)
			}
		}
		if got, err := s.Blob(dag.Root); err != nil || got != d {
			t.Errorf("got %s, %v", got, err)
		}
		var got bytes.Buffer
		if err := s.WriteFile(t.Context(), dag.Root, &got); err != nil || !bytes.Equal(got.Bytes(), b) {
			t.Errorf("%d bytes came, %v", got.Len(), err)
		}
	}
}
