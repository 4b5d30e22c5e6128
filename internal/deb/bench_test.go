package deb

import "testing"

// BenchmarkWarmIndexes reads the indexes of bookworm that are in the store.
func BenchmarkWarmIndexes(b *testing.B) {
	a := realArchive(b)
	for b.Loop() {
		if _, err := a.Indexes(b.Context(), "bookworm", "amd64"); err != nil {
			b.Fatal(err)
		}
	}
}
