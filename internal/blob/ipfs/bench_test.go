package ipfs

import (
	"bytes"
	"testing"

	"github.com/ipfs/go-cid"
)

func BenchmarkDAGOf100MiB(b *testing.B) {
	content := stream(b, 100<<20)
	_, d, err := BuildUnnamed(b.Context(), bytes.NewReader(content))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if _, err := Build(b.Context(), d, bytes.NewReader(content)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLeafFromFile(b *testing.B) {
	s, p := newStore(b)
	content := stream(b, 100<<20)
	dagOfBlob(b, s, put(b, p, content))
	leaves := make([]cid.Cid, 100)
	for i := range leaves {
		leaves[i], _ = raw.Sum(content[i*chunkSize : (i+1)*chunkSize])
	}
	b.SetBytes(chunkSize)
	for i := 0; b.Loop(); i++ {
		if _, err := s.Get(b.Context(), leaves[i%len(leaves)]); err != nil {
			b.Fatal(err)
		}
	}
}
