package peer

import (
	"io"
	"testing"

	"holdfast/internal/oci"
)

// BenchmarkOpen fetches from another node, over TCP and under the swarm's
// key, both in this process.
func BenchmarkOpen(b *testing.B) {
	for _, c := range []struct {
		name        string
		size, count int
	}{{"100MiB", 100 << 20, 1}, {"256KiB", 256 << 10, 64}} {
		b.Run(c.name, func(b *testing.B) {
			from, to := newSite(b, nil), newSite(b, nil)
			to.join(from)
			b.SetBytes(int64(c.size) * int64(c.count))
			for i := range b.N {
				b.StopTimer()
				names := make([]oci.Digest, c.count)
				for k := range names {
					names[k] = from.put(c.size, uint64(i*c.count+k))
				}
				if _, err := from.config.Store.DAG(b.Context(), names[0]); err != nil { // hashed before it is asked for
					b.Fatal(err)
				}
				b.StartTimer()
				for _, name := range names {
					r, _, err := to.Open(b.Context(), name)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := io.Copy(io.Discard, r); err != nil {
						b.Fatal(err)
					}
					_ = r.Close()
				}
			}
		})
	}
}
