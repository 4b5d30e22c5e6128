package verity

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The root hashes that cryptsetup fixes in tests/verity-compat-test (commit
// 38f95b7001c7, check_root_hash of format 1 with SHA-256 and blocks of 4096)
// for 8 MiB of zeros, with a salt and without.
func TestRootHashesAreThoseOfCryptsetupsOwnTest(t *testing.T) {
	for salt, want := range map[string]string{
		"e48da609055204e89ae53b655ca2216dd983cf3cb829f34f63a297d106d53e2d": "e522df0f97da4febb882ac40f30b37dc0b444bf6df418929463fa25280f09d5c",
		"": "ef29c902d87350f1da4bfa536e16cebc162a909bf89abe448b81ec500d4fb9bf",
	} {
		raw, err := hex.DecodeString(salt)
		if err != nil {
			t.Fatal(err)
		}
		tree, err := Build(bytes.NewReader(make([]byte, 8<<20)), Params{Salt: raw})
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(tree.Root[:]); got != want {
			t.Errorf("salt %q: got %s, cryptsetup has %s", salt, got, want)
		}
	}
}

func TestVeritysetupDumpsWhatTheSuperblockSays(t *testing.T) {
	if _, err := exec.LookPath("veritysetup"); err != nil {
		t.Skip("needs veritysetup: apt install cryptsetup-bin")
	}
	tree, err := Build(bytes.NewReader(sample(300)), testParams)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "hash")
	if err := os.WriteFile(path, tree.Device(), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("veritysetup", "dump", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, want := range map[string]string{
		"UUID": testParams.UUID.String(), "Hash type": "1", "Data blocks": "300", "Data block size": "4096",
		"Hash block size": "4096", "Hash algorithm": "sha256", "Salt": hex.EncodeToString(testParams.Salt),
	} {
		m := regexp.MustCompile(`(?m)^` + name + `:\s*(.*)$`).FindSubmatch(out)
		if m == nil || strings.TrimSpace(string(m[1])) != want {
			t.Errorf("%s: want %q in\n%s", name, want, out)
		}
	}
}

// What we call altered, veritysetup calls altered, block by block.
func TestVeritysetupRefusesWhatVerifyRefuses(t *testing.T) {
	if _, err := exec.LookPath("veritysetup"); err != nil {
		t.Skip("needs veritysetup: apt install cryptsetup-bin")
	}
	data := sample(300)
	tree, err := Build(bytes.NewReader(data), testParams)
	if err != nil {
		t.Fatal(err)
	}
	root := hex.EncodeToString(tree.Root[:])
	for _, at := range []struct{ data, hash int }{{-1, -1}, {0, -1}, {299*4096 + 4095, -1}, {-1, 4096}, {-1, 4 * 4096}} {
		d, h := bytes.Clone(data), bytes.Clone(tree.Device())
		if at.data >= 0 {
			d[at.data] ^= 0x80
		}
		if at.hash >= 0 {
			h[at.hash] ^= 0x80
		}
		dir := t.TempDir()
		for name, b := range map[string][]byte{"data": d, "hash": h} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		theirs := exec.Command("veritysetup", "verify", filepath.Join(dir, "data"), filepath.Join(dir, "hash"), root).Run()
		ours := Verify(bytes.NewReader(d), bytes.NewReader(h), tree.Root)
		if (theirs == nil) != (ours == nil) || (ours == nil) != (at.data < 0 && at.hash < 0) {
			t.Errorf("byte %s: we say %v, veritysetup %v", fmt.Sprintf("%+v", at), ours, theirs)
		}
	}
}
