package verity

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"holdfast/internal/boot/guid"
)

func sample(blocks int) []byte {
	b := make([]byte, blocks*BlockSize)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

var testParams = Params{
	Salt: bytes.Repeat([]byte{0xa5}, 32),
	UUID: guid.Must("01234567-89ab-8def-8123-456789abcdef"),
}

func TestRootHashAndDeviceEqualVeritysetups(t *testing.T) {
	if _, err := exec.LookPath("veritysetup"); err != nil {
		t.Skip("needs veritysetup: apt install cryptsetup-bin")
	}
	for _, blocks := range []int{1, 2, 127, 128, 129, 16384, 16385, 20000} {
		data := sample(blocks)
		tree, err := Build(bytes.NewReader(data), testParams)
		if err != nil {
			t.Fatal(err)
		}
		root, device := veritysetupFormat(t, data)
		if got := hex.EncodeToString(tree.Root[:]); got != root {
			t.Errorf("%d blocks: root %s, veritysetup says %s", blocks, got, root)
		}
		if !bytes.Equal(tree.Device(), device) {
			t.Errorf("%d blocks: hash device differs from veritysetup's", blocks)
		}
	}
}

func veritysetupFormat(t *testing.T, data []byte) (root string, device []byte) {
	t.Helper()
	dir := t.TempDir()
	dataPath, hashPath := filepath.Join(dir, "data"), filepath.Join(dir, "hash")
	if err := os.WriteFile(dataPath, data, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("veritysetup", "format", dataPath, hashPath,
		"--salt", hex.EncodeToString(testParams.Salt), "--uuid", testParams.UUID.String()).CombinedOutput()
	if err != nil {
		t.Fatalf("veritysetup: %v: %s", err, out)
	}
	m := regexp.MustCompile(`Root hash:\s+([0-9a-f]{64})`).FindSubmatch(out)
	device, err = os.ReadFile(hashPath)
	if m == nil || err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(m[1]), device
}

func TestVeritysetupAcceptsTheTree(t *testing.T) {
	if _, err := exec.LookPath("veritysetup"); err != nil {
		t.Skip("needs veritysetup: apt install cryptsetup-bin")
	}
	dir := t.TempDir()
	data := sample(300)
	tree, err := Build(bytes.NewReader(data), Params{Salt: []byte("s")})
	if err != nil {
		t.Fatal(err)
	}
	dataPath, hashPath := filepath.Join(dir, "data"), filepath.Join(dir, "hash")
	_ = os.WriteFile(dataPath, data, 0o600)
	_ = os.WriteFile(hashPath, tree.Device(), 0o600)
	for _, args := range [][]string{{"verify", dataPath, hashPath, hex.EncodeToString(tree.Root[:])}, {"dump", hashPath}} {
		if out, err := exec.Command("veritysetup", args...).CombinedOutput(); err != nil {
			t.Errorf("veritysetup %s: %v: %s", args[0], err, out)
		}
	}
}

func TestTamperedBlockIsNamed(t *testing.T) {
	data := sample(20000) // 157 hash blocks under 2 under 1
	tree, err := Build(bytes.NewReader(data), testParams)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name       string
		data, hash int // byte to flip, -1 for none
		want       CorruptError
	}{
		{"first data block", 0, -1, CorruptError{"data", 0}},
		{"last data block", len(data) - 1, -1, CorruptError{"data", 19999}},
		{"top hash block", -1, 4096, CorruptError{"root", 0}},
		{"middle hash block", -1, 2 * 4096, CorruptError{"hash", 2}},
		{"bottom hash block", -1, 10*4096 + 7, CorruptError{"hash", 10}},
	} {
		d, h := bytes.Clone(data), bytes.Clone(tree.Device())
		if c.data >= 0 {
			d[c.data] ^= 1
		}
		if c.hash >= 0 {
			h[c.hash] ^= 1
		}
		var got *CorruptError
		if err := Verify(bytes.NewReader(d), bytes.NewReader(h), tree.Root); !errors.As(err, &got) || *got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, err, &c.want)
		}
	}
	if err := Verify(bytes.NewReader(data), bytes.NewReader(tree.Device()), tree.Root); err != nil {
		t.Errorf("untouched: %v", err)
	}
}

func TestOddLengthAndNothingAreRefused(t *testing.T) {
	for _, n := range []int{0, 1, 4095, 4097, chunk + 1} {
		if _, err := Build(bytes.NewReader(make([]byte, n)), Params{}); err == nil {
			t.Errorf("%d bytes: accepted", n)
		}
	}
}

func TestUUIDComesFromTheRootHash(t *testing.T) {
	a, _ := Build(bytes.NewReader(sample(3)), Params{})
	b, _ := Build(bytes.NewReader(sample(3)), Params{})
	c, _ := Build(bytes.NewReader(sample(4)), Params{})
	if a.UUID != b.UUID || a.UUID == c.UUID {
		t.Errorf("got %v, %v, %v", a.UUID, b.UUID, c.UUID)
	}
}

func BenchmarkBuild(b *testing.B) {
	data := sample(16384)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := Build(bytes.NewReader(data), testParams); err != nil {
			b.Fatal(err)
		}
	}
}
