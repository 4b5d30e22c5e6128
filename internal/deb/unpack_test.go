package deb

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"holdfast/internal/deb/debtest"
)

// unpacked lists what Unpack gives: name, kind, mode, link and content's hash.
func unpacked(r io.Reader) ([]string, error) {
	var list []string
	err := Unpack(r, func(h *tar.Header, r io.Reader) error {
		list = append(list, describe(h, r))
		return nil
	})
	return list, err
}

func describe(h *tar.Header, r io.Reader) string {
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s %c %o %d:%d %s %d %d:%d %x", h.Name, h.Typeflag, h.Mode, h.Uid, h.Gid, h.Linkname,
		h.ModTime.Unix(), h.Devmajor, h.Devminor, sum.Sum(nil)[:4])
}

// byDpkg lists the same by dpkg-deb and archive/tar.
func byDpkg(t *testing.T, file string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "dpkg-deb", "--fsys-tarfile", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for r := tar.NewReader(bytes.NewReader(out)); ; {
		h, err := r.Next()
		if err != nil {
			return list
		}
		if h.Name = strings.Trim(strings.TrimPrefix(h.Name, "./"), "/"); h.Name == "" {
			continue
		}
		if h.Typeflag == tar.TypeLink {
			h.Linkname = strings.TrimPrefix(h.Linkname, "./")
		}
		list = append(list, describe(h, r))
	}
}

func TestPackagesOfDpkgDebAreUnpacked(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("needs dpkg-deb: run it on Debian")
	}
	root := t.TempDir()
	err := errors.Join(os.MkdirAll(filepath.Join(root, "p/DEBIAN"), 0o755), os.MkdirAll(filepath.Join(root, "p/usr/bin"), 0o755),
		os.WriteFile(filepath.Join(root, "p/DEBIAN/control"), []byte("Package: p\nVersion: 1\nArchitecture: amd64\n"+
			"Maintainer: Nobody <nobody@example.org>\nDescription: test\n two lines\n"), 0o644),
		os.WriteFile(filepath.Join(root, "p/usr/bin/x"), bytes.Repeat([]byte("x"), 100_000), 0o755),
		os.Link(filepath.Join(root, "p/usr/bin/x"), filepath.Join(root, "p/usr/bin/hard")),
		os.Symlink("../../x", filepath.Join(root, "p/usr/bin/soft")),
		os.WriteFile(filepath.Join(root, "p/usr/"+strings.Repeat("long", 40)), nil, 0o640))
	if err != nil {
		t.Fatal(err)
	}
	for _, compression := range []string{"xz", "zstd", "gzip", "none"} {
		file := filepath.Join(root, compression+".deb")
		out, err := exec.CommandContext(t.Context(), "dpkg-deb", "--root-owner-group", "-Z"+compression, "--build", filepath.Join(root, "p"), file).CombinedOutput()
		if err != nil {
			t.Fatalf("dpkg-deb: %v\n%s", err, out)
		}
		b, _ := os.ReadFile(file)
		got, err := unpacked(bytes.NewReader(b))
		if want := byDpkg(t, file); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v and\n%s\nwant\n%s", compression, err, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		control, err := ReadControl(bytes.NewReader(b))
		if err != nil || control.Get("package") != "p" || control.Get("Description") != "test\ntwo lines" {
			t.Errorf("%s: got control %q and %v", compression, control, err)
		}
	}
}

func TestRealPackagesAreUnpackedAsDpkgDoes(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("needs dpkg-deb: run it on Debian")
	}
	a := realArchive(t)
	u, err := a.Indexes(t.Context(), "bookworm", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"redis-server", "libc6", "base-files", "systemd-boot-efi"} {
		p, err := u.Newest(name)
		if err != nil {
			t.Fatal(err)
		}
		pin, err := p.Pin()
		if err == nil {
			err = a.Fetch(t.Context(), []Pin{pin})
		}
		if err != nil {
			t.Fatal(err)
		}
		r, err := a.cfg.Store.Open(t.Context(), pin.Digest())
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "p.deb")
		w, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := unpacked(io.TeeReader(r, w))
		if err := errors.Join(err, r.Close(), w.Close()); err != nil {
			t.Fatal(err)
		}
		if want := byDpkg(t, file); !slices.Equal(got, want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

const control = "Package: p\nVersion: 1\nArchitecture: amd64\n"

func TestNamesThatLeaveTheTreeAreRefused(t *testing.T) {
	link := func(to string) func(*tar.Header) {
		return func(h *tar.Header) { h.Typeflag, h.Linkname, h.Size = tar.TypeLink, to, 0 }
	}
	for _, f := range []debtest.File{
		{Name: "../x"}, {Name: "./usr/../../x"}, {Name: "/etc/passwd"}, {Name: "usr/.."},
		{Name: "./x", Header: link("../y")}, {Name: "./x", Header: link("/etc/shadow")},
	} {
		if got, err := unpacked(bytes.NewReader(debtest.Build(t, control, f))); err == nil || len(got) > 0 {
			t.Errorf("%s: got %q and %v, want a refusal", f.Name, got, err)
		}
	}
}

func TestLinksTargetsAndNamesAreKept(t *testing.T) {
	soft := func(h *tar.Header) { h.Typeflag, h.Linkname = tar.TypeSymlink, "../../../etc" }
	hard := func(h *tar.Header) { h.Typeflag, h.Linkname = tar.TypeLink, "./usr/bin/..x" }
	got := map[string]string{}
	err := Unpack(bytes.NewReader(debtest.Build(t, control, debtest.File{Name: "./usr/"}, debtest.File{Name: "./usr/bin/..x"},
		debtest.File{Name: "./a", Header: soft}, debtest.File{Name: "./b", Header: hard})), func(h *tar.Header, _ io.Reader) error {
		got[h.Name] = h.Linkname
		return nil
	})
	want := map[string]string{"usr": "", "usr/bin/..x": "", "a": "../../../etc", "b": "usr/bin/..x"}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v and %v, want %v", got, err, want)
	}
}

func TestBrokenPackagesAreRefused(t *testing.T) {
	whole := debtest.Build(t, control, debtest.File{Name: "./a", Content: strings.Repeat("a", 5000)})
	data := debtest.Tar(t, debtest.File{Name: "./a"})
	version, head := []byte("2.0\n"), debtest.Tar(t, debtest.File{Name: "./control", Content: control})
	for want, b := range map[string][]byte{
		"not a .deb file":               []byte("PK\x03\x04 something else"),
		"cut off":                       whole[:len(whole)-6000],
		"no data.tar in it":             debtest.Ar("debian-binary", version, "control.tar", head),
		"of version 2":                  debtest.Ar("debian-binary", []byte("3.0\n"), "data.tar", data),
		"bad member header":             append(debtest.Ar("debian-binary", version), bytes.Repeat([]byte("x"), 60)...),
		`compression ".lzma" is not`:    debtest.Ar("debian-binary", version, "control.tar", head, "data.tar.lzma", data),
		"does not begin with debian-b":  debtest.Ar(),
		"data.tar: archive/tar: invali": debtest.Ar("debian-binary", version, "control.tar", head, "data.tar", bytes.Repeat([]byte("x"), 1024)),
	} {
		if _, err := unpacked(bytes.NewReader(b)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// So that a reader that verifies can still object.
func TestUnpackReadsToTheEnd(t *testing.T) {
	rotten := errors.New("rotten")
	r := io.MultiReader(bytes.NewReader(debtest.Build(t, control)), iotest.ErrReader(rotten))
	if _, err := unpacked(r); !errors.Is(err, rotten) {
		t.Errorf("got %v, want %v", err, rotten)
	}
}
