package deb

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"testing"

	"github.com/xi2/xz"
)

// packed is what xz itself makes of raw.
func packed(t testing.TB, raw []byte, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("xz"); err != nil {
		t.Skip("needs xz: apt-get install xz-utils")
	}
	cmd := exec.Command("xz", append([]string{"--stdout", "-1"}, args...)...)
	cmd.Stdin = bytes.NewReader(raw)
	out, err := cmd.Output()
	must(t, err)
	return out
}

func unxz(b []byte) ([]byte, error) {
	r, err := newXZ(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// someText compresses, but not to nothing.
func someText(n int) []byte {
	chance := rand.New(rand.NewPCG(1, 2))
	var text []byte
	for len(text) < n {
		text = strconv.AppendInt(append(text, ' '), int64(chance.IntN(1e6)), 10)
	}
	return text[:n]
}

func TestXZOfEveryShapeIsRead(t *testing.T) {
	raw := someText(1 << 20)
	many := packed(t, raw, "-T2", "--block-size=100000")
	for name, c := range map[string]struct{ in, want []byte }{
		"one block":             {packed(t, raw, "-T1"), raw},
		"many blocks":           {many, raw},
		"blocks without sizes":  {packed(t, raw, "-T1", "--block-size=100000"), raw},
		"another check":         {packed(t, raw, "-T2", "--block-size=300000", "--check=sha256"), raw},
		"no check":              {packed(t, raw, "-T2", "--block-size=300000", "--check=none"), raw},
		"a filter":              {packed(t, raw, "-T2", "--block-size=300000", "--x86", "--lzma2=preset=1"), raw},
		"nothing":               {packed(t, nil, "-T2"), nil},
		"two streams, one read": {append(bytes.Clone(many), many...), append(bytes.Clone(raw), raw...)},
	} {
		if got, err := unxz(c.in); err != nil || !bytes.Equal(got, c.want) {
			t.Errorf("%s: got %d bytes and %v, want %d", name, len(got), err, len(c.want))
		}
	}
}

func TestLargeBlockIsReadWithoutBeingHeld(t *testing.T) {
	raw := bytes.Repeat(someText(1<<20), 40)
	got, err := unxz(packed(t, append(raw, raw...), "-T2", "--block-size="+strconv.Itoa(len(raw))))
	if err != nil || !bytes.Equal(got, append(raw, raw...)) {
		t.Errorf("got %d bytes and %v, want %d", len(got), err, 2*len(raw))
	}
}

// A flipped bit that changes nothing of what is unpacked may stay unnoticed.
func TestDamagedXZIsNoticed(t *testing.T) {
	raw := someText(2000)
	good := packed(t, raw, "-T2", "--block-size=700")
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if got, err := unxz(bad); err == nil && !bytes.Equal(got, raw) {
			t.Errorf("byte %d of %d flipped: got %d bytes and no error", i, len(good), len(got))
		}
		if _, err := unxz(good[:i]); err == nil {
			t.Errorf("cut off after %d of %d bytes: got no error", i, len(good))
		}
	}
}

func TestXZThatIsNotReadToItsEndIsClosed(t *testing.T) {
	raw := someText(1 << 20)
	for _, n := range []int64{0, 1, 150_000} {
		r, err := newXZ(bytes.NewReader(packed(t, raw, "-T2", "--block-size=100000")))
		must(t, err)
		if _, err := io.CopyN(io.Discard, r, n); err != nil {
			t.Error(err)
		}
		must(t, r.Close())
	}
}

// Whatever is read block by block is what is read in one go.
//
//fuzz:parser xz.go xzformat.go
func FuzzXZ(f *testing.F) {
	if _, err := exec.LookPath("xz"); err == nil {
		f.Add(packed(f, someText(2000), "-T2", "--block-size=500"))
		f.Add(packed(f, someText(100), "-T1"))
		f.Add(packed(f, someText(100), "-T2", "--check=none"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := unxz(b)
		if err != nil {
			return
		}
		r, err := xz.NewReader(bytes.NewReader(b), maxWindow)
		must(t, err)
		want, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("got %d bytes, want %d and %v", len(got), len(want), err)
		}
	})
}
