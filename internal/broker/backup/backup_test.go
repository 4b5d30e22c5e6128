package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func write(t testing.TB, files map[string]string) []byte {
	t.Helper()
	dir, paths := t.TempDir(), map[string]string{}
	for name, content := range files {
		paths[name] = filepath.Join(dir, strings.ReplaceAll(name, "/", "-"))
		if err := os.WriteFile(paths[name], []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if _, err := Write(&out, time.Unix(1e9, 0), paths); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// members makes a tar file of names and contents in turn.
func members(t testing.TB, list ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := 0; i < len(list); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: list[i], Size: int64(len(list[i+1])), Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, list[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func manifest(name, content string) string {
	sum := sha256.Sum256([]byte(content))
	return `{"version":1,"files":[{"name":"` + name + `","size":` + string(rune('0'+len(content))) + `,"sha256":"` + hex.EncodeToString(sum[:]) + `"}]}`
}

func TestABackupThatLiesIsRefused(t *testing.T) {
	good := write(t, map[string]string{"broker/a": "one", "broker/b": "two"})
	if _, err := Unpack(bytes.NewReader(good), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"nothing":         {nil, "it is not a backup of a broker"},
		"a byte":          {bytes.Replace(good, []byte("two"), []byte("tvo"), 1), "its SHA-256 is"},
		"cut off":         {good[:len(good)-2048], "cut off"},
		"climbs":          {members(t, manifestName, manifest("../x", "y"), "../x", "y"), "names no file that could be in a backup"},
		"another's name":  {members(t, manifestName, manifest("broker/x", "y"), "broker/z", "y"), "it is not what the manifest names here"},
		"one more":        {members(t, manifestName, manifest("broker/x", "y"), "broker/x", "y", "broker/z", "y"), "more than its manifest names"},
		"another version": {members(t, manifestName, `{"version":9}`), "it has format 9"},
	} {
		if _, err := Unpack(bytes.NewReader(c.raw), t.TempDir()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// What is unpacked is what the manifest names, byte for byte, and inside.
//
//fuzz:parser backup.go:Unpack,readManifest,unpack
func FuzzUnpack(f *testing.F) {
	f.Add(write(f, map[string]string{"broker/a": "one"}))
	f.Add(members(f, manifestName, manifest("../x", "y"), "../x", "y"))
	f.Add(members(f, manifestName, manifest("broker/x", "y"), "broker/x", "y"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		m, err := Unpack(bytes.NewReader(raw), dir)
		if list, _ := os.ReadDir(outer); len(list) > 1 || len(list) == 1 && list[0].Name() != "in" {
			t.Fatalf("something is outside: %v", list)
		}
		if err != nil {
			return
		}
		found := 0
		_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				found++
			}
			return nil
		})
		if found != len(m.Files) {
			t.Errorf("%d files of %d", found, len(m.Files))
		}
		for _, file := range m.Files {
			content, err := os.ReadFile(filepath.Join(dir, file.Name))
			if sum := sha256.Sum256(content); err != nil || hex.EncodeToString(sum[:]) != file.SHA256 || int64(len(content)) != file.Size {
				t.Errorf("%q: %d bytes, %v", file.Name, len(content), err)
			}
		}
	})
}
