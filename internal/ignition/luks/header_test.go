package luks

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// volume is cryptsetup's own, in a file.
func volume(t testing.TB) (path, key string) {
	t.Helper()
	path, key = filepath.Join(t.TempDir(), "volume"), filepath.Join(t.TempDir(), "key")
	err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 24<<20), os.WriteFile(key, []byte("key"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	cryptsetup(t, "", "luksFormat", "--batch-mode", "--type", "luks2", "--key-file", key, "--subsystem", "of a test", "--label", "vault",
		"--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", path)
	cryptsetup(t, `{"type":"other","keyslots":[],"text":"é<&>"}`, "token", "import", path)
	return path, key
}

func cryptsetup(t testing.TB, input string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("cryptsetup"); err != nil {
		t.Skip("needs cryptsetup: run make test-tools")
	}
	cmd := exec.Command("cryptsetup", args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("cryptsetup %v: %v: %s", args, err, out)
	}
	return string(out)
}

func open(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestCryptsetupOpensByTheDetachedHeader(t *testing.T) {
	path, key := volume(t)
	f, copied := open(t, path), open(t, filepath.Join(t.TempDir(), "header"))
	h, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	if h.Subsystem != "of a test" || h.Label != "vault" || len(h.UUID) != 36 || len(h.Token("other")) != 1 {
		t.Errorf("read %q, %q, %q", h.Subsystem, h.Label, h.UUID)
	}
	if err := h.Detach(f, copied); err != nil {
		t.Fatal(err)
	}
	cryptsetup(t, "", "luksOpen", "--test-passphrase", "--header", copied.Name(), "--key-file", key, path)
	if got, want := cryptsetup(t, "", "luksDump", copied.Name()), cryptsetup(t, "", "luksDump", path); got != want {
		t.Errorf("detached:\n%s\nwant:\n%s", got, want)
	}
}

// A volume's second header counts when it is newer, and is not left in the
// detached one, where cryptsetup would take it.
func TestTheNewerHeaderCountsAlone(t *testing.T) {
	path, _ := volume(t)
	f := open(t, path)
	first, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	// A header of later number and null cipher, as a host would plant it.
	evil := make([]byte, first.size)
	if _, err := f.ReadAt(evil, first.size); err != nil {
		t.Fatal(err)
	}
	evil = bytes.ReplaceAll(evil, []byte(`"aes-xts-plain64"`), []byte(`"cipher_null-ecb"`))
	binary.BigEndian.PutUint64(evil[offSequence:], 99)
	sum := (&Header{binary: [binarySize]byte(evil)}).sum(evil[binarySize:])
	copy(evil[offSum:], sum[:])
	if _, err := f.WriteAt(evil, first.size); err != nil {
		t.Fatal(err)
	}
	h, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	before, _ := first.Message("")
	after, _ := h.Message("")
	if h.sequence != 99 || bytes.Equal(before, after) {
		t.Error("the header that cryptsetup would take is not the one that is checked")
	}
	copied := open(t, filepath.Join(t.TempDir(), "header"))
	if err := first.Detach(f, copied); err != nil {
		t.Fatal(err)
	}
	if dump := cryptsetup(t, "", "luksDump", copied.Name()); strings.Contains(dump, "cipher_null") {
		t.Errorf("the detached header is the planted one:\n%s", dump)
	}
}

func TestAMessageHasEverythingButItsMAC(t *testing.T) {
	path, _ := volume(t)
	message := func() string {
		h, err := Read(open(t, path))
		if err != nil {
			t.Fatal(err)
		}
		m, err := h.Message("holdfast")
		if err != nil {
			t.Fatal(err)
		}
		return string(m)
	}
	before := message()
	cryptsetup(t, `{"type":"holdfast","keyslots":[],"mac":"x"}`, "token", "import", path)
	if message() != before {
		t.Error("the token of the MAC changes the message")
	}
	cryptsetup(t, `{"type":"clevis","keyslots":[]}`, "token", "import", path)
	if message() == before {
		t.Error("another token does not change the message")
	}
}

func TestWhatIsNotWholeIsNoHeader(t *testing.T) {
	path, _ := volume(t)
	f := open(t, path)
	h, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("x"), 5000); err != nil { // of the first
		t.Fatal(err)
	}
	second, err := Read(f)
	if err != nil {
		t.Fatalf("the second header is whole: %v", err)
	}
	a, _ := h.Message("")
	b, _ := second.Message("")
	if !bytes.Equal(a, b) {
		t.Error("the second header says something else")
	}
	if _, err := f.WriteAt([]byte("x"), h.size+5000); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(f); !errors.Is(err, ErrNone) {
		t.Errorf("got %v, want %v", err, ErrNone)
	}
}

// Whatever a disk has, reading ends, and what is detached reads as the same.
//
//fuzz:parser header.go:Read,readAt,Token,Message,dataOffset,Detach
func FuzzHeader(f *testing.F) {
	f.Add([]byte(`{"keyslots":{},"tokens":{"0":{"type":"clevis","keyslots":["0"]}},"segments":{"0":{"type":"crypt","offset":"65536"}},"digests":{},"config":{}}`))
	f.Add([]byte(`{"segments":{"0":{"offset":"-1"}}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, metadata []byte) {
		disk := make([]byte, 128<<10)
		copy(disk, primary)
		binary.BigEndian.PutUint16(disk[offVersion:], 2)
		binary.BigEndian.PutUint64(disk[offSize:], minSize)
		copy(disk[offAlgorithm:], "sha256")
		copy(disk[binarySize:minSize-1], metadata)
		sum := (&Header{binary: [binarySize]byte(disk)}).sum(disk[binarySize:minSize])
		copy(disk[offSum:], sum[:])
		h, err := Read(bytes.NewReader(disk))
		if err != nil {
			return
		}
		message, err := h.Message("holdfast")
		if err != nil {
			t.Fatal(err)
		}
		copied := open(t, filepath.Join(t.TempDir(), "header"))
		if h.Detach(bytes.NewReader(disk), copied) != nil {
			return
		}
		again, err := Read(copied)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := again.Message("holdfast"); err != nil || !bytes.Equal(message, second) {
			t.Errorf("%q reads back as %q, %v", message, second, err)
		}
	})
}
