package ipfs

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

func TestBlobsHaveTheNamesThatKuboGivesThem(t *testing.T) {
	golden, err := os.ReadFile("testdata/kubo.txt")
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]func(int64) io.Reader{
		"keystream": keystream,
		"zeros":     func(n int64) io.Reader { return io.LimitReader(zeroes{}, n) },
	}
	for line := range strings.Lines(string(golden)) {
		var kind, want string
		var size int64
		if _, err := fmt.Sscan(line, &kind, &size, &want); err != nil {
			t.Fatal(err)
		}
		dag, _, err := BuildUnnamed(t.Context(), content[kind](size))
		if err != nil {
			t.Fatal(err)
		}
		if dag.Root.String() != want || dag.Size != size {
			t.Errorf("%s of %d bytes: %s of %d, kubo has %s", kind, size, dag.Root, dag.Size, want)
		}
	}
}
