package node

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/boot/gpt"
	"holdfast/internal/boot/guid"
)

func TestRootHashHasToBeThereOnce(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	root, err := parseRootHash("quiet holdfast.roothash=" + hash + " panic=-1\n")
	if err != nil || root[0] != 0xab || root[31] != 0xab {
		t.Errorf("got %x, %v", root, err)
	}
	for line, want := range map[string]string{
		"quiet": "has 0 holdfast.roothash=, want one",
		"holdfast.roothash=" + hash + " holdfast.roothash=" + hash: "has 2",
		"holdfast.roothash=abcd":                                   "want 64 hex digits",
		"holdfast.roothash=" + hash[1:] + "x":                      "want 64 hex digits",
	} {
		if _, err := parseRootHash(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want %q", line, err, want)
		}
	}
}

func TestPartitionsAreFoundByTheirStart(t *testing.T) {
	dir := t.TempDir()
	for name, start := range map[string]string{"vda1": "2048\n", "vda2": "4096\n"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "start"), []byte(start), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	one, two := guid.GUID{1}, guid.GUID{2}
	got, err := matchPartitions(dir, []gpt.Entry{{GUID: two, Start: 4096 * 512}, {GUID: one, Start: 2048 * 512}, {GUID: guid.GUID{3}, Start: 512}})
	if err != nil || len(got) != 2 || got[one] != "/dev/vda1" || got[two] != "/dev/vda2" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestPortIsFoundByItsName(t *testing.T) {
	dir := t.TempDir()
	if _, err := openPort(dir, "holdfast.control"); !errors.Is(err, errNoPort) {
		t.Errorf("got %v, want %v", err, errNoPort)
	}
	if err := os.MkdirAll(filepath.Join(dir, "null"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "null", "name"), []byte("holdfast.control\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := openPort(dir, "holdfast.control")
	if err != nil || f.Name() != "/dev/null" {
		t.Errorf("got %v, %v, want /dev/null", f, err)
	}
}

func TestRefusalIsOneLineWhateverItsReason(t *testing.T) {
	var console strings.Builder
	r := &reporter{console: &console, control: newControl()}
	r.refused(refusal(&Refusal{"config", errors.New("toml: bad\nholdfast: stage root: all is well")}))
	want := "holdfast: refused: config: toml: bad; holdfast: stage root: all is well\n"
	if console.String() != want {
		t.Errorf("got %q, want %q", console.String(), want)
	}
}

func TestPanicEndsInOrder(t *testing.T) {
	err := safely(func() error { panic("oops") })
	if d := refusal(err); d.Stage != "node" || !strings.HasPrefix(d.Reason, "panic: oops") {
		t.Errorf("got %+v", d)
	}
}

func TestHostNameIsOneOrTheDefault(t *testing.T) {
	for given, want := range map[string]string{
		"guest-1.example": "guest-1.example", "": "holdfast", "a\n10.0.0.1 b": "holdfast", "a b": "holdfast", strings.Repeat("x", 64): "holdfast",
	} {
		if got := hostname(given); got != want {
			t.Errorf("%q: got %q, want %q", given, got, want)
		}
	}
}

func TestTheSuperblockMapsTheWholeRootAndNoMore(t *testing.T) {
	root := make([]byte, 96)
	binary.LittleEndian.PutUint64(root[40:], 3*4096+1)
	for blocks, good := range map[uint64]bool{4: true, 3: false, 5: false, 0: false} {
		if err := mapsAll(bytes.NewReader(root), blocks); (err == nil) != good {
			t.Errorf("%d blocks of a root of three and a byte: got %v", blocks, err)
		}
	}
	if err := mapsAll(bytes.NewReader(root[:44]), 4); err == nil {
		t.Error("a root of 44 bytes was taken for one")
	}
}
