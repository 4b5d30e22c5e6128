package squashfs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var anyDate = time.Unix(1_700_000_000, 0)

// image is what Write makes of archive.
func image(t testing.TB, archive []byte, o Options) []byte {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	check(t, err)
	defer f.Close()
	o.Date = anyDate
	size, err := Write(t.Context(), f, bytes.NewReader(archive), o)
	check(t, err)
	raw, err := os.ReadFile(f.Name())
	check(t, err)
	if size != int64(len(raw)) || size%4096 != 0 {
		t.Fatalf("got %d bytes, said %d, want the same multiple of 4096", len(raw), size)
	}
	return raw
}

func TestWhatIsWrittenIsReadAgain(t *testing.T) {
	archive, entries := sample(t)
	files, err := walk(image(t, archive, Options{}))
	check(t, err)
	if len(files) != len(entries)+1 {
		t.Errorf("got %d files, want %d and the root", len(files), len(entries))
	}
	for _, h := range entries {
		compare(t, h, files)
	}
	if f := files["d/attributed"]; len(f.Xattrs) != 2 || f.Xattrs["user.note"] != "x\x00y" {
		t.Errorf("got attributes %q", f.Xattrs)
	}
}

// listing is unsquashfs's view of an image: modes, owners, sizes, devices, dates, names.
func listing(t *testing.T, raw []byte) string {
	t.Helper()
	if _, err := exec.LookPath("unsquashfs"); err != nil {
		t.Skip("needs unsquashfs: apt-get install squashfs-tools")
	}
	path := filepath.Join(t.TempDir(), "image")
	check(t, os.WriteFile(path, raw, 0o600))
	out, err := exec.Command("unsquashfs", "-lln", path).CombinedOutput()
	if err != nil {
		t.Fatalf("unsquashfs: %v: %s", err, out)
	}
	_, list, _ := strings.Cut(string(out), "squashfs-root/") // without the root, whose mode sqfstar makes up
	return list
}

func TestUnsquashfsSeesWhatSqfstarWouldHaveWritten(t *testing.T) {
	archive, _ := sample(t)
	want := listing(t, squash(t, archive, "-comp", "zstd"))
	if got := listing(t, image(t, archive, Options{})); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTheKernelReadsIt(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts: run as root")
	}
	archive, entries := sample(t)
	path, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	check(t, os.WriteFile(path, image(t, archive, Options{}), 0o600))
	if out, err := exec.Command("mount", "-o", "loop,ro", "-t", "squashfs", path, dir).CombinedOutput(); err != nil {
		t.Skipf("mount: %v: %s (needs loop devices and the kernel's squashfs)", err, out)
	}
	defer func() { check(t, exec.Command("umount", dir).Run()) }()
	for _, h := range entries {
		if h.Typeflag != tar.TypeReg || h.Size == 0 {
			continue
		}
		got, err := os.ReadFile(filepath.Join(dir, h.Name))
		if err != nil || int64(len(got)) != h.Size || h.Size > 1 && !bytes.Equal(got, random(int(h.Size))) {
			t.Errorf("%s: got %d bytes, %v, want those of the archive", h.Name, len(got), err)
		}
	}
	names, err := os.ReadDir(filepath.Join(dir, "d"))
	if err != nil || len(names) != len(entries)-1 {
		t.Errorf("got %d names, %v, want %d", len(names), err, len(entries)-1)
	}
	for _, n := range names { // by name, not only in the listing
		if _, err := os.Lstat(filepath.Join(dir, "d", n.Name())); err != nil {
			t.Error(err)
		}
	}
}

// memory is a Cache that counts its hits.
type memory struct {
	blocks map[[32]byte][]byte
	hits   int
}

func (m *memory) Get(sum [32]byte) []byte {
	if m.blocks[sum] != nil {
		m.hits++
	}
	return m.blocks[sum]
}

func (m *memory) Put(sum [32]byte, packed []byte) error {
	m.blocks[sum] = packed
	return nil
}

func TestSameFilesSameBytesWhateverHelped(t *testing.T) {
	archive, _ := sample(t)
	want := image(t, archive, Options{Workers: 1})
	m := &memory{blocks: map[[32]byte][]byte{}}
	for name, o := range map[string]Options{
		"many workers": {Workers: 7}, "an empty cache": {Workers: 1, Cache: m}, "nothing": {},
	} {
		if got := image(t, archive, o); !bytes.Equal(got, want) {
			t.Errorf("with %s: other bytes", name)
		}
	}
	if got := image(t, archive, Options{Workers: 1, Cache: m}); !bytes.Equal(got, want) || m.hits == 0 {
		t.Errorf("with a full cache: %d hits, the same bytes %t", m.hits, bytes.Equal(got, want))
	}
	for sum, packed := range m.blocks { // each a good frame, of another block
		m.blocks[sum] = append([]byte{}, packed[:len(packed)-1]...)
	}
	if got := image(t, archive, Options{Workers: 1, Cache: m}); !bytes.Equal(got, want) {
		t.Error("with a lying cache: other bytes")
	}
}

// full is a disk with no room after some bytes.
type full struct{ left int }

var errFull = errors.New("no space left")

func (f *full) WriteAt(b []byte, _ int64) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestAFullDiskIsSaidSo(t *testing.T) {
	archive, _ := sample(t)
	for _, room := range []int{0, 1000, 300_000, 460_000} {
		if _, err := Write(t.Context(), &full{room}, bytes.NewReader(archive), Options{}); !errors.Is(err, errFull) {
			t.Errorf("room for %d bytes: got %v, want %v", room, err, errFull)
		}
	}
}

func TestAnEndedContextEndsIt(t *testing.T) {
	archive, _ := sample(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Write(ctx, &full{1 << 30}, bytes.NewReader(archive), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestABadStreamIsRefusedByName(t *testing.T) {
	file := &tar.Header{Typeflag: tar.TypeReg, Name: "f"}
	for want, entries := range map[string][]*tar.Header{
		"/a/b: no directory for it came before":               {{Typeflag: tar.TypeReg, Name: "a/b"}},
		"/f: it is there already":                             {file, file},
		"/l: hard link to g, which is no file before it":      {{Typeflag: tar.TypeLink, Name: "l", Linkname: "g"}},
		`/f: owner -5: want`:                                  {{Typeflag: tar.TypeReg, Name: "f", Uid: -5}},
		"/f: extended attribute system.x: want one of user":   {{Typeflag: tar.TypeReg, Name: "f", PAXRecords: map[string]string{"SCHILY.xattr.system.x": "1"}}},
		"/" + strings.Repeat("n", 257) + ": its name has 257": {{Typeflag: tar.TypeReg, Name: strings.Repeat("n", 257)}},
	} {
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		for _, h := range entries {
			check(t, w.WriteHeader(h))
		}
		check(t, w.Close())
		if _, err := Write(t.Context(), &full{1 << 20}, &archive, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	archive, _ := sample(t)
	if _, err := Write(t.Context(), &full{1 << 30}, bytes.NewReader(archive[:len(archive)/3]), Options{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut stream: got %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

func BenchmarkWrite(b *testing.B) {
	raw := bytes.Repeat(random(1<<20), 32)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	check(b, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "f", Size: int64(len(raw))}))
	_, err := w.Write(raw)
	check(b, err)
	check(b, w.Close())
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		_, err := Write(b.Context(), &full{1 << 30}, bytes.NewReader(archive.Bytes()), Options{})
		check(b, err)
	}
}
