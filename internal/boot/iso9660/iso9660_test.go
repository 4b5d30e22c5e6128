package iso9660

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// volumeOf is genisoimage's, in the ways that makers of config drives call it.
func volumeOf(t testing.TB, options ...string) []byte {
	t.Helper()
	tool, err := exec.LookPath("genisoimage")
	if err != nil {
		t.Skip("needs genisoimage: run make test-tools")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"user-data": "{}", "openstack/latest/user_data": strings.Repeat("x", 5000), "many/a": "", "plain.txt": "plain"} {
		path := filepath.Join(dir, "in", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	image := filepath.Join(dir, "iso")
	args := append(options, "-quiet", "-V", "cidata", "-o", image, filepath.Join(dir, "in"))
	if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	raw, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestFilesAreFoundByTheNamesThatTheVolumeHas(t *testing.T) {
	for _, c := range []struct {
		options []string
		names   map[string]int
	}{
		{[]string{"-joliet", "-rock"}, map[string]int{"user-data": 2, "/openstack/latest/user_data": 5000, "many/a": 0}},
		{[]string{"-joliet"}, map[string]int{"user-data": 2, "openstack/latest/user_data": 5000}},
		{[]string{"-rock"}, map[string]int{"user-data": 2, "openstack/latest/user_data": 5000}},
		{nil, map[string]int{"plain.txt": 5, "PLAIN.TXT": 5}},
	} {
		raw := volumeOf(t, c.options...)
		for name, size := range c.names {
			f, err := Open(bytes.NewReader(raw), name)
			if err != nil {
				t.Errorf("%v: %v", c.options, err)
				continue
			}
			if got, err := io.ReadAll(f); err != nil || len(got) != size {
				t.Errorf("%v: %s has %d bytes, %v, want %d", c.options, name, len(got), err, size)
			}
		}
		for _, name := range []string{"absent", "many", "user-data/x", "many/a/b", ""} {
			if _, err := Open(bytes.NewReader(raw), name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v: %q: got %v, want ErrNotExist", c.options, name, err)
			}
		}
	}
	if _, err := Open(bytes.NewReader(make([]byte, 64<<10)), "x"); !errors.Is(err, ErrFormat) {
		t.Errorf("got %v, want ErrFormat", err)
	}
}

// A volume of anybody's gives a file, none, or is an error of the format.
//
//fuzz:parser iso9660.go
func FuzzOpen(f *testing.F) {
	head := make([]byte, 20*sector)
	for i, kind := range []byte{1, 2, 255} {
		d := head[(firstDesc+i)*sector:]
		copy(d, append([]byte{kind}, "CD001\x01"...))
		copy(d[88:], "%/E")
		copy(d[156:], "\x22\x00\x13\x00\x00\x00\x00\x00\x00\x00\x00\x08")
		d[156+25], d[156+32] = 2, 1
	}
	f.Add(head[firstDesc*sector:], "user-data")
	f.Fuzz(func(t *testing.T, body []byte, name string) {
		r, err := Open(bytes.NewReader(append(make([]byte, firstDesc*sector), body...)), name)
		switch {
		case err == nil:
			_, _ = io.Copy(io.Discard, r)
		case !errors.Is(err, ErrFormat) && !errors.Is(err, fs.ErrNotExist):
			t.Errorf("got %v", err)
		}
	})
}
