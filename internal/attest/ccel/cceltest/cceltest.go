// Package cceltest reads recordings for tests.
package cceltest

import (
	"compress/gzip"
	"io"
	"os"
	"testing"
)

// Unpacked is what a file holds, which is kept packed by gzip.
func Unpacked(t testing.TB, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
