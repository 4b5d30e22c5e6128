package deb

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func soak() bool { return os.Getenv("HOLDFAST_SOAK") != "" }

// seeded is a source of chance; a failure's seed repeats it.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("HOLDFAST_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("HOLDFAST_SEED: %v", err)
		}
	}
	t.Logf("HOLDFAST_SEED=%d repeats it", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// archives are where packages of all kinds come from.
var archives = []struct{ suite, arch string }{{"bookworm", "amd64"}, {"trixie", "amd64"}, {"trixie", "arm64"}, {"bookworm", "arm64"}}

// TestTreesOfDpkgDebAreOurs takes packages by chance: 16 small ones, or 200 in
// a soak.
func TestTreesOfDpkgDebAreOurs(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("needs dpkg-deb: run it on Debian")
	}
	a, chance := realArchive(t), seeded(t)
	each, largest := 4, int64(1e6)
	if soak() {
		each, largest = 50, 30e6
	}
	files := 0
	for _, from := range archives {
		u, err := a.Indexes(t.Context(), from.suite, from.arch)
		must(t, err)
		pins := someOf(t, u, chance, each, largest)
		must(t, a.Fetch(t.Context(), pins))
		for _, p := range pins {
			files += compareTrees(t, a, p)
		}
	}
	t.Logf("%d packages with %d files", each*len(archives), files)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// someOf takes n packages that are no larger than largest.
func someOf(t *testing.T, u *Universe, chance *rand.Rand, n int, largest int64) []Pin {
	t.Helper()
	names := slices.Sorted(maps.Keys(u.byName))
	var pins []Pin
	for _, i := range chance.Perm(len(names)) {
		pin, err := u.byName[names[i]][0].Pin()
		must(t, err)
		if pin.Size <= largest && len(pins) < n {
			pins = append(pins, pin)
		}
	}
	return pins
}

// compareTrees lets dpkg-deb make the files, and compares what they are with
// what Unpack says. It gives their number.
func compareTrees(t *testing.T, a *Archive, p Pin) int {
	t.Helper()
	r, err := a.cfg.Store.Open(t.Context(), p.Digest())
	must(t, err)
	defer r.Close()
	dir, err := os.MkdirTemp(t.TempDir(), p.Name)
	must(t, err)
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "package.deb")
	w, err := os.Create(file)
	must(t, err)
	ours := map[string]string{}
	err = Unpack(io.TeeReader(r, w), func(h *tar.Header, content io.Reader) error {
		ours[h.Name], err = told(h, content, ours)
		return err
	})
	must(t, errors.Join(err, w.Close()))
	root := filepath.Join(dir, "root")
	if out, err := exec.CommandContext(t.Context(), "dpkg-deb", "-x", file, root).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb -x %s: %v\n%s", p.Name, err, out)
	}
	theirs := onDisk(t, root)
	for _, name := range slices.Sorted(maps.Keys(merged(ours, theirs))) {
		if ours[name] != theirs[name] {
			t.Errorf("%s %s: /%s is %q, dpkg-deb made %q", p.Name, p.Version, name, ours[name], theirs[name])
		}
	}
	return len(ours)
}

func merged(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// told is what a header says of a file, in the words of onDisk. Who is not
// root owns all that dpkg-deb makes. Of folders the time is left out: tar, by
// which dpkg-deb unpacks, makes links last, and that touches their folders.
func told(h *tar.Header, content io.Reader, earlier map[string]string) (string, error) {
	switch h.Typeflag {
	case tar.TypeLink:
		return earlier[h.Linkname], nil
	case tar.TypeSymlink:
		return fmt.Sprintf("link %s %s", h.Linkname, owner(h.Uid, h.Gid)), nil
	case tar.TypeDir:
		return fmt.Sprintf("dir %04o %s", h.Mode&0o7777, owner(h.Uid, h.Gid)), nil
	case tar.TypeReg:
		sum := sha256.New()
		n, err := io.Copy(sum, content)
		return fmt.Sprintf("file %04o %s %d %d %x", h.Mode&0o7777, owner(h.Uid, h.Gid), h.ModTime.Unix(), n, sum.Sum(nil)), err
	}
	return fmt.Sprintf("type %q", h.Typeflag), nil
}

func owner(uid, gid int) string {
	if os.Getuid() != 0 {
		uid, gid = os.Getuid(), os.Getgid()
	}
	return fmt.Sprintf("%d:%d", uid, gid)
}

func onDisk(t *testing.T, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name := strings.TrimPrefix(strings.TrimPrefix(path, root), "/")
		if err != nil || name == "" {
			return err
		}
		found[name], err = stat(path)
		return err
	}))
	return found
}

func stat(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	s := info.Sys().(*syscall.Stat_t)
	who := owner(int(s.Uid), int(s.Gid))
	switch info.Mode().Type() {
	case fs.ModeSymlink:
		target, err := os.Readlink(path)
		return fmt.Sprintf("link %s %s", target, who), err
	case fs.ModeDir:
		return fmt.Sprintf("dir %04o %s", s.Mode&0o7777, who), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	return fmt.Sprintf("file %04o %s %d %d %x", s.Mode&0o7777, who, info.ModTime().Unix(), n, sum.Sum(nil)), err
}
