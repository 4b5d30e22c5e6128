package squashfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// content of a file is by its name: shorter and longer than a block, and so
// that some blocks are stored as they are.
func random(size int) []byte {
	b := make([]byte, size)
	r := rand.New(rand.NewPCG(uint64(size), 1))
	for i := range b[:size/2] {
		b[i] = byte(r.Uint32())
	}
	return b
}

// sample is a tar with a file of every kind.
func sample(t *testing.T) (archive []byte, entries []*tar.Header) {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(h *tar.Header, data []byte) {
		h.ModTime, h.Size = time.Unix(1_700_000_000, 0), int64(len(data))
		check(t, w.WriteHeader(h))
		_, err := w.Write(data)
		check(t, err)
		entries = append(entries, h)
	}
	add(&tar.Header{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o1777, Uid: 1000, Gid: 1001}, nil)
	for _, size := range []int{0, 5, 131072, 131073, 700_000} {
		add(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("d/f%d", size), Mode: 0o4755, Uid: size}, random(size))
	}
	add(&tar.Header{Typeflag: tar.TypeReg, Name: "d/attributed", Mode: 0o644, PAXRecords: map[string]string{
		"SCHILY.xattr.user.note": "x\x00y", "SCHILY.xattr.security.capability": "cap",
	}}, []byte("a"))
	add(&tar.Header{Typeflag: tar.TypeSymlink, Name: "d/link", Linkname: "../elsewhere", Mode: 0o777}, nil)
	add(&tar.Header{Typeflag: tar.TypeLink, Name: "d/second", Linkname: "d/f5"}, nil)
	add(&tar.Header{Typeflag: tar.TypeChar, Name: "d/null", Devmajor: 1, Devminor: 3, Mode: 0o666}, nil)
	add(&tar.Header{Typeflag: tar.TypeBlock, Name: "d/disk", Devmajor: 259, Devminor: 70_000, Mode: 0o660}, nil)
	add(&tar.Header{Typeflag: tar.TypeFifo, Name: "d/pipe", Mode: 0o600}, nil)
	for i := range 600 { // more than one run of entries and one block of inodes
		add(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("d/many-%03d", i), Mode: 0o600}, nil)
	}
	check(t, w.Close())
	return out.Bytes(), entries
}

// squash lets squashfs-tools make an image.
func squash(t testing.TB, archive []byte, options ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("sqfstar"); err != nil {
		t.Skip("needs sqfstar: apt-get install squashfs-tools")
	}
	path := filepath.Join(t.TempDir(), "image")
	cmd := exec.Command("sqfstar", append(append([]string{"-quiet", "-no-progress"}, options...), path)...)
	cmd.Stdin = bytes.NewReader(archive)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sqfstar: %v: %s", err, out)
	}
	raw, err := os.ReadFile(path)
	check(t, err)
	return raw
}

type found struct {
	File
	data []byte
}

func walk(raw []byte) (map[string]found, error) {
	m, err := Open(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	files := map[string]found{}
	err = m.Walk(func(f File, content io.Reader) error {
		data, err := io.ReadAll(content)
		files[f.Path] = found{f, data}
		return err
	})
	return files, err
}

func TestEveryFileComesOutAsItWentIn(t *testing.T) {
	archive, entries := sample(t)
	for _, options := range [][]string{{"-comp", "zstd"}, {"-comp", "gzip"}, {"-comp", "xz"}, {"-comp", "zstd", "-no-fragments"},
		{"-comp", "gzip", "-noI", "-noD", "-noX", "-b", "4096"}} {
		t.Run(strings.Join(options, " "), func(t *testing.T) {
			files, err := walk(squash(t, archive, options...))
			check(t, err)
			if len(files) != len(entries)+1 {
				t.Errorf("got %d files, want %d and the root", len(files), len(entries))
			}
			for _, h := range entries {
				compare(t, h, files)
			}
			f := files["d/attributed"]
			if len(f.Xattrs) != 2 || f.Xattrs["user.note"] != "x\x00y" || f.Xattrs["security.capability"] != "cap" {
				t.Errorf("got attributes %q", f.Xattrs)
			}
		})
	}
}

func compare(t *testing.T, h *tar.Header, files map[string]found) {
	t.Helper()
	name := strings.TrimSuffix(h.Name, "/")
	got, ok := files[name]
	if h.Typeflag == tar.TypeLink {
		if first := files[h.Linkname]; got.Inode != first.Inode || !bytes.Equal(got.data, first.data) {
			t.Errorf("%s: got inode %d, want %d", name, got.Inode, first.Inode)
		}
		return
	}
	if !ok || got.Type != h.Typeflag || int64(got.Mode) != h.Mode || int(got.UID) != h.Uid || int(got.GID) != h.Gid ||
		int64(got.Time) != h.ModTime.Unix() || got.Target != h.Linkname ||
		int64(got.Major) != h.Devmajor || int64(got.Minor) != h.Devminor || got.Size != h.Size {
		t.Errorf("%s: got %+v, want %+v", name, got.File, h)
	}
	if h.Typeflag == tar.TypeReg && strings.HasPrefix(name, "d/f") && !bytes.Equal(got.data, random(int(h.Size))) {
		t.Errorf("%s: %d other bytes", name, len(got.data))
	}
}

func TestWhatIsNoSquashfsSaysSo(t *testing.T) {
	archive, _ := sample(t)
	good := squash(t, archive, "-comp", "zstd")
	for name, raw := range map[string][]byte{
		"empty": nil, "zeros": make([]byte, 4096), "cut": good[:len(good)/2], "text": bytes.Repeat([]byte("hsqs"), 100),
	} {
		if _, err := walk(raw); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: got %v, want ErrFormat", name, err)
		}
	}
}

// A read ends, whatever the tables say, and no path leaves the tree.
//
//fuzz:parser inode.go meta.go codec.go walk.go squashfs.go
func FuzzWalk(f *testing.F) {
	var tiny bytes.Buffer
	w := tar.NewWriter(&tiny)
	for _, h := range []tar.Header{
		{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o755},
		{Typeflag: tar.TypeReg, Name: "d/f", Size: 3, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b"}},
		{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "d"}, {Typeflag: tar.TypeChar, Name: "c", Devmajor: 1},
	} {
		check(f, w.WriteHeader(&h))
		if h.Size > 0 {
			_, err := w.Write([]byte("abc"))
			check(f, err)
		}
	}
	check(f, w.Close())
	for _, options := range [][]string{{"-comp", "gzip", "-noI", "-noF", "-noX"}, {"-comp", "zstd"}, {"-comp", "xz", "-noX"}} {
		raw := squash(f, tiny.Bytes(), options...)
		f.Add(bytes.TrimRight(raw, "\x00"))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := Open(bytes.NewReader(raw))
		if err != nil {
			return
		}
		files := 0
		err = m.Walk(func(f File, content io.Reader) error {
			if strings.HasPrefix(f.Path, "/") || slices.Contains(strings.Split(f.Path, "/"), "..") {
				t.Errorf("file %q leaves the tree", f.Path)
			}
			if files++; files > 1000 {
				return fmt.Errorf("file %d is %q", files, f.Path)
			}
			_, err := io.CopyN(io.Discard, content, 1<<20)
			if err == io.EOF {
				err = nil
			}
			return err
		})
		if err != nil && !errors.Is(err, ErrFormat) && !strings.HasPrefix(err.Error(), "file ") {
			t.Errorf("got %v, want an error of the format", err)
		}
	})
}
