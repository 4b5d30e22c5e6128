package ahead

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func TestReaderGivesWhatItReads(t *testing.T) {
	for _, size := range []int{0, 1, chunkSize, chunkSize + 1, 20*chunkSize + 7} {
		want := bytes.Repeat([]byte("0123456"), size/7+1)[:size]
		r := Reader(iotest.HalfReader(bytes.NewReader(want)))
		got, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: got %d, %v", size, len(got), err)
		}
	}
}

// A connection that breaks is no end of what it carries, wherever it breaks.
func TestBrokenConnectionIsNoEnd(t *testing.T) {
	b := bytes.Repeat([]byte{1}, 3*chunkSize/2)
	for _, cut := range []error{io.ErrUnexpectedEOF, errors.New("reset")} {
		r := Reader(io.MultiReader(bytes.NewReader(b), iotest.ErrReader(cut)))
		got, err := io.ReadAll(r)
		if !errors.Is(err, cut) || len(got) != len(b) {
			t.Errorf("got %d bytes, %v, want %d and %v", len(got), err, len(b), cut)
		}
		_ = r.Close()
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestCloseEndsAReaderNobodyReads(t *testing.T) {
	r := Reader(endless{})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}
