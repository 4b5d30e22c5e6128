package ipfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"
	"github.com/ipld/go-car/v2/blockstore"

	"holdfast/internal/blob/pool"
	"holdfast/internal/oci"
)

// A CID that has a digest is the digest's CID again, but for its codec.
//
//fuzz:parser cid.go
func FuzzCID(f *testing.F) {
	for _, c := range []string{
		"bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku", "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn",
		"bafkqaaa", "bafkrgqaohz2sgsv4gd5dsd3fknzg5upsjdsa7dnsyaduqwpvyzqnpsoqmojvnxe7rjfzpgcwsenqtowbyzzwsxzsgebxa3xqawydoylqpdhzm", "",
	} {
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, name string) {
		c, err := cid.Decode(name)
		if err != nil {
			return
		}
		d, err := DigestOf(c)
		if err != nil {
			return
		}
		again, err := DigestCID(d)
		if err != nil || !bytes.Equal(again.Hash(), c.Hash()) {
			t.Errorf("%s is %s, which is %s; %v", c, d, again, err)
		}
	})
}

// Whatever a CAR holds, what becomes a blob is what it is called.
//
//fuzz:parser keep.go:Import,importBlock
func FuzzCAR(f *testing.F) {
	for _, version := range []bool{true, false} {
		f.Add(carOf(f, version, []byte("hello, world\n"), []byte{}, []byte("hello again")))
	}
	f.Add([]byte("\x0a\xa1gversion\x02"))
	f.Add([]byte("\x12\xa2eroots\x80gversion\x01\xff\xff\xff\xff\xff\xff\xff\xff\x7f"))
	s, p := newStore(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := s.Import(t.Context(), bytes.NewReader(b))
		if err == nil && in.Bytes > int64(len(b)) {
			t.Errorf("%d bytes came of %d", in.Bytes, len(b))
		}
		if err := p.Walk(t.Context(), func(i pool.Info) error {
			r, err := p.Open(t.Context(), i.Digest)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, r)
			return errors.Join(err, r.Close(), s.Drop(i.Digest), p.Remove(i.Digest))
		}); err != nil {
			t.Error(err)
		}
	})
}

// carOf is a CAR of raw blocks as go-car writes it.
func carOf(t testing.TB, first bool, contents ...[]byte) []byte {
	t.Helper()
	var roots []cid.Cid
	var all []blocks.Block
	for _, b := range contents {
		c, err := DigestCID(oci.SHA256(b))
		if err != nil {
			t.Fatal(err)
		}
		block, err := blocks.NewBlockWithCid(b, c)
		if err != nil {
			t.Fatal(err)
		}
		roots, all = append(roots, c), append(all, block)
	}
	return writeCAR(t, first, roots, all)
}

// A peer's DAG may be anything: no more bytes are written than it promised,
// and it comes to an end.
//
//fuzz:parser fetch.go file.go:OpenFile,Read
func FuzzFetch(f *testing.F) {
	s, p := newStore(f)
	for _, size := range []int64{3, MaxBlock + 1, 4 << 20} {
		b := stream(f, size)
		if dag, err := s.DAG(f.Context(), put(f, p, b)); err == nil {
			root, err := s.Get(f.Context(), dag.Root)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(root.RawData(), size, true)
		}
	}
	f.Add([]byte("\x0a\x02\x08\x01"), int64(0), true)
	f.Fuzz(func(t *testing.T, node []byte, size int64, pb bool) {
		size &= 1<<20 - 1
		codec := raw
		if pb {
			codec = dagPB
		}
		root, err := codec.Sum(node)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		g := &everything{root: root, node: node}
		if err := Fetch(t.Context(), g, root, size, &got); err == nil && int64(got.Len()) != size {
			t.Errorf("%d bytes came, %d promised", got.Len(), size)
		}
		if int64(got.Len()) > size {
			t.Errorf("%d bytes were written, %d promised", got.Len(), size)
		}
		file, err := OpenFile(t.Context(), g, root)
		if err != nil || file.Size > 1<<20 {
			return
		}
		file.Skip(size)
		n, err := io.Copy(io.Discard, file)
		if want := max(0, file.Size-size); n > want || err == nil && n < want {
			t.Errorf("%d bytes came behind %d of %d", n, size, file.Size)
		}
		must(t, file.Close())
	})
}

// everything has the root and says of every other block that it is like the
// root again, or a byte.
type everything struct {
	root cid.Cid
	node []byte
}

func (e *everything) GetBlock(_ context.Context, c cid.Cid) (blocks.Block, error) {
	switch c.Prefix().Codec {
	case cid.DagProtobuf:
		return blocks.NewBlockWithCid(e.node, c)
	case cid.Raw:
		if c.Equals(e.root) {
			return blocks.NewBlockWithCid(e.node, c)
		}
		return blocks.NewBlockWithCid([]byte{1}, c)
	}
	return nil, format.ErrNotFound{Cid: c}
}

// A record that somebody else wrote gives an error at worst.
//
//fuzz:parser records.go:readRecord place.go:readPlace,keyDigest
func FuzzIndex(f *testing.F) {
	number, size := binary.BigEndian.AppendUint64(nil, 1), binary.BigEndian.AppendUint64(nil, 3<<20)
	root, err := raw.Sum(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(slices.Concat(number, size, root.Bytes()), slices.Concat(size, digestKey(oci.SHA256(nil))), []byte("l\x02"))
	f.Add(slices.Concat(number, size, root.Bytes()), slices.Concat(size, []byte{2}, make([]byte, 64)), []byte("n\x0a\x02\x08\x01"))
	f.Fuzz(func(t *testing.T, dag, of, block []byte) {
		if r, err := readRecord(dag); err == nil && (len(r.number) != 8 || !r.root.Defined() || r.size <= MaxBlock) {
			t.Errorf("%q is %+v", dag, r)
		}
		at, err := readPlace(of, block)
		if err != nil {
			return
		}
		if _, err := oci.ParseDigest(string(at.blob)); err != nil || at.offset < 0 || at.size < 0 || at.size > MaxBlock {
			t.Errorf("%q, %q is %+v; %v", of, block, at, err)
		}
	})
}

// writeCAR writes a CAR of version 1, or of version 2.
func writeCAR(t testing.TB, first bool, roots []cid.Cid, all []blocks.Block) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.car")
	w, err := blockstore.OpenReadWrite(path, roots, blockstore.WriteAsCarV1(first))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.PutMany(t.Context(), all), w.Finalize()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
