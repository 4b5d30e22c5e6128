package attack

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/broker/state"
	"holdfast/internal/seal/sealtest"
)

func TestASecretIsFoundInEachForm(t *testing.T) {
	const secret = "correct horse?battery>staple"
	s := newSearch(secret)
	for _, before := range []string{"", "x", "xy", "xyz", strings.Repeat("-", 1<<20-5)} {
		text := before + secret + " behind it"
		for form, written := range map[string]string{
			"plain": text, "hex": hex.EncodeToString([]byte(text)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(text))),
			"base64": base64.StdEncoding.EncodeToString([]byte(text)), "URL": base64.URLEncoding.EncodeToString([]byte(text)),
		} {
			forms, err := s.in(strings.NewReader(written))
			if err != nil || len(forms) == 0 {
				t.Errorf("%s behind %d bytes: got %v, %v", form, len(before), forms, err)
			}
		}
	}
	for _, without := range []string{"", secret[1:], base64.StdEncoding.EncodeToString([]byte(secret[:20]))} {
		if forms, err := s.in(strings.NewReader(without)); err != nil || len(forms) > 0 {
			t.Errorf("%.40q: got %v, %v, want nothing", without, forms, err)
		}
	}
}

func TestOnlyFilesWrittenSinceAreSearched(t *testing.T) {
	dir := t.TempDir()
	old, fresh := filepath.Join(dir, "old"), filepath.Join(dir, "fresh")
	for _, path := range []string{old, fresh} {
		if err := os.WriteFile(path, []byte("a secret"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(old, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	found, looked, err := newSearch("secret").below(dir, time.Now().Add(-time.Minute))
	if err != nil || looked != 1 || len(found) != 1 || found[0].where != fresh {
		t.Errorf("got %v in %d files, %v, want %s", found, looked, err, fresh)
	}
}

// A lock that is let go of lets another process's broker write at the same time.
func TestASearchLeavesADatabaseItsLocks(t *testing.T) {
	dir := t.TempDir()
	kept, err := state.Open(t.Context(), state.Config{Dir: dir, Sealer: sealtest.New()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kept.Close() }()
	if _, err := kept.Resources(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := locks(t, dir)
	found, looked, err := newSearch("SQLite format").below(dir, time.Time{})
	if err != nil || looked < 3 || len(found) == 0 {
		t.Errorf("got %v in %d files, %v, want the database's first words", found, looked, err)
	}
	if after := locks(t, dir); before == 0 || after != before {
		t.Errorf("got %d locks on the database's files after a search, %d before", after, before)
	}
}

// locks are how many this process has on files in dir by fcntl.
func locks(t *testing.T, dir string) (n int) {
	t.Helper()
	all, err := os.ReadFile("/proc/locks")
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		inode := fmt.Sprintf(":%d ", info.Sys().(*syscall.Stat_t).Ino)
		for line := range strings.Lines(string(all)) {
			if strings.Contains(line, "POSIX") && strings.Contains(line, fmt.Sprintf(" %d ", os.Getpid())) && strings.Contains(line, inode) {
				n++
			}
		}
	}
	return n
}

func TestMappingsSayWhatACoreFileHas(t *testing.T) {
	list, err := mappings(os.Getpid())
	if err != nil {
		t.Skip(err)
	}
	var dumped, named int
	for _, m := range list {
		if m.end <= m.start {
			t.Fatalf("got %+v", m)
		}
		if m.dumped {
			dumped++
		}
		if strings.HasPrefix(m.name, "/") {
			named++
		}
	}
	if dumped == 0 || named == 0 {
		t.Errorf("of %d mappings %d go into a core file and %d are of files", len(list), dumped, named)
	}
}

func TestASecretIsFoundInOwnMemory(t *testing.T) {
	held := bytes.Repeat([]byte("needle in memory "), 3)
	found, err := newSearch(string(held)).memory(os.Getpid())
	if err != nil || len(found) == 0 {
		t.Errorf("got %v, %v", found, err)
	}
}

func TestThePlantedSecretIsFound(t *testing.T) {
	if err := searchControl.Run(t.Context(), newLab(t)); err != nil {
		t.Fatal(err)
	}
}
