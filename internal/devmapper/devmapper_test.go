package devmapper

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The layout is the kernel's: offsets were printed by a C program from
// <linux/dm-ioctl.h>.
func TestRequestHasTheKernelsLayout(t *testing.T) {
	r := request{name: "root", flags: readOnly, targets: []Target{{Start: 1, Length: 8, Type: "zero"}, {Start: 9, Length: 2, Type: "linear", Params: "8:1 0"}}}
	b, err := r.marshal()
	if err != nil {
		t.Fatal(err)
	}
	le := binary.NativeEndian
	want := map[int]uint32{0: 4, 12: uint32(len(b)), 16: 312, 20: 2, 28: 1, 312 + 20: 48, 360 + 20: 48}
	for at, v := range want {
		if got := le.Uint32(b[at:]); got != v {
			t.Errorf("at %d: got %d, want %d", at, got, v)
		}
	}
	if got := string(bytes.TrimRight(b[360+40:], "\x00")); got != "8:1 0" || len(b) != 408 {
		t.Errorf("got parameters %q and %d bytes, want 8:1 0 and 408", got, len(b))
	}
}

func TestLongNamesAreRefused(t *testing.T) {
	if _, err := (request{name: strings.Repeat("a", 128)}).marshal(); err == nil {
		t.Error("a name of 128 bytes was accepted")
	}
	if _, err := (request{name: "a", targets: []Target{{Type: strings.Repeat("a", 16)}}}).marshal(); err == nil {
		t.Error("a type of 16 bytes was accepted")
	}
}

func TestSuperblockOfVeritysetupIsRead(t *testing.T) {
	tool, err := exec.LookPath("veritysetup")
	if err != nil {
		t.Skip("needs veritysetup: apt-get install cryptsetup-bin")
	}
	dir := t.TempDir()
	data, hash := filepath.Join(dir, "data"), filepath.Join(dir, "hash")
	if err := os.WriteFile(data, make([]byte, 5*BlockSize), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, "format", "--salt=00ff", data, hash).CombinedOutput(); err != nil {
		t.Fatalf("veritysetup: %v: %s", err, out)
	}
	f, err := os.Open(hash)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := ReadSuperblock(f)
	if err != nil {
		t.Fatal(err)
	}
	if s.DataBlocks != 5 || hex.EncodeToString(s.Salt) != "00ff" {
		t.Errorf("got %+v, want 5 blocks and salt 00ff", s)
	}
}

// Documentation/admin-guide/device-mapper/verity.rst gives the words and
// their order.
func TestVerityTable(t *testing.T) {
	got := Verity("254:2", "254:3", [32]byte{0xab}, Superblock{DataBlocks: 3})
	want := "1 254:2 254:3 4096 4096 3 1 sha256 ab" + strings.Repeat("0", 62) + " - 1 panic_on_corruption"
	if got.Params != want || got.Length != 24 {
		t.Errorf("got  %d %s\nwant 24 %s", got.Length, got.Params, want)
	}
}

func superblock() []byte {
	good := make([]byte, 512)
	copy(good, "verity\x00\x00\x01\x00\x00\x00\x01")
	copy(good[32:], "sha256")
	copy(good[64:], "\x00\x10\x00\x00\x00\x10\x00\x00\x05")
	return good
}

func TestNothingHidesInASuperblock(t *testing.T) {
	for at := range superblock() {
		b := superblock()
		b[at] ^= 0x01
		_, err := ReadSuperblock(bytes.NewReader(b))
		isUUID, isCount := at >= 16 && at < 32, at >= 72 && at < 77 // up to 1<<40 blocks
		isSalt := at == 80 || at == 81
		if (err == nil) != (isUUID || isCount || isSalt) {
			t.Errorf("byte %d: got %v", at, err)
		}
	}
}

//fuzz:parser verity.go:ReadSuperblock
func FuzzSuperblock(f *testing.F) {
	f.Add(superblock())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ReadSuperblock(bytes.NewReader(b))
		if err == nil && (len(s.Salt) > maxSalt || s.DataBlocks == 0) {
			t.Errorf("accepted %+v", s)
		}
	})
}
