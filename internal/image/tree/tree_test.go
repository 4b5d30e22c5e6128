package tree

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

var date = time.Date(2026, 11, 14, 9, 30, 0, 0, time.UTC)

func testSpool(t *testing.T) *Spool {
	t.Helper()
	s, err := NewSpool(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func file(name, content string) (*tar.Header, string) {
	return &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}, content
}

func addHeader(tr *Tree, origin string, h *tar.Header, body string, s *Spool) error {
	c, err := s.Add(strings.NewReader(body), int64(len(body)))
	if err != nil {
		return err
	}
	return tr.AddHeader(origin, h, c)
}

func addFile(t *testing.T, tr *Tree, s *Spool, origin, name, content string) error {
	t.Helper()
	h, body := file(name, content)
	return addHeader(tr, origin, h, body, s)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func written(t *testing.T, tr *Tree) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, tr.WriteTar(&b, date))
	return b.Bytes()
}

func TestPackagesFollowTheMergedUsr(t *testing.T) {
	tr, s := New(), testSpool(t)
	must(t, tr.MergeUsr())
	must(t, tr.AddHeader("bash", &tar.Header{Name: "./bin/", Typeflag: tar.TypeDir, Mode: 0o755}, Content{}))
	must(t, addFile(t, tr, s, "bash", "./bin/bash", "#!"))
	must(t, addFile(t, tr, s, "libc6", "./lib/x86_64-linux-gnu/libc.so.6", "ELF"))
	if n := tr.nodes["usr/bin/bash"]; n == nil || n.Content.Size != 2 {
		t.Fatalf("got %v, want the file at usr/bin/bash", n)
	}
	if n := tr.nodes["bin"]; n.Type != tar.TypeSymlink || n.Target != "usr/bin" {
		t.Fatalf("got %+v, want /bin to stay a link to usr/bin", n)
	}
	if tr.Lookup("/lib/x86_64-linux-gnu/libc.so.6") != tr.nodes["usr/lib/x86_64-linux-gnu/libc.so.6"] {
		t.Fatal("want both paths to lead to one file")
	}
}

func TestConflictNamesBothPackages(t *testing.T) {
	tr, s := New(), testSpool(t)
	must(t, addFile(t, tr, s, "one", "etc/a", "x"))
	must(t, addFile(t, tr, s, "two", "etc/a", "x")) // identical: shared
	var conflict *ConflictError
	err := addFile(t, tr, s, "three", "etc/a", "y")
	if !errors.As(err, &conflict) || conflict.First != "one" || conflict.Second != "three" {
		t.Fatalf("got %v, want a conflict of one and three", err)
	}
	must(t, tr.Put("etc/a", &Node{Type: tar.TypeReg, Content: Bytes([]byte("recipe"))}))
}

func TestTarIsSortedDatedAndHasEveryParent(t *testing.T) {
	tr, s := New(), testSpool(t)
	must(t, addFile(t, tr, s, "p", "usr/share/z/file", "z"))
	must(t, addFile(t, tr, s, "p", "usr/lib/a", "a"))
	must(t, tr.AddHeader("p", &tar.Header{Name: "usr/lib/0", Typeflag: tar.TypeLink, Linkname: "./usr/lib/a"}, Content{}))
	var got []string
	r := tar.NewReader(bytes.NewReader(written(t, tr)))
	for h, err := r.Next(); !errors.Is(err, io.EOF); h, err = r.Next() {
		must(t, err)
		if !h.ModTime.Equal(date) {
			t.Fatalf("%s: got time %v, want %v", h.Name, h.ModTime, date)
		}
		got = append(got, h.Name+"="+h.Linkname)
	}
	want := []string{"usr/=", "usr/lib/=", "usr/lib/0=", "usr/lib/a=usr/lib/0", "usr/share/=", "usr/share/z/=", "usr/share/z/file="}
	if !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestSameFilesInAnyOrderGiveTheSameBytes(t *testing.T) {
	names := []string{"b/c", "a", "b/a", strings.Repeat("long/", 60) + "name", "ünïcode"}
	build := func() []byte {
		tr, s := New(), testSpool(t)
		for _, n := range names {
			must(t, addFile(t, tr, s, "p", n, "content of "+n))
		}
		return written(t, tr)
	}
	first := build()
	slices.Reverse(names)
	if !bytes.Equal(first, build()) {
		t.Fatal("the order of adding changed the tar")
	}
}

func TestXattrsDevicesAndModesSurviveATarReader(t *testing.T) {
	tr, s := New(), testSpool(t)
	h, body := file("ping", "x")
	h.Mode, h.PAXRecords = 0o4755, map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02"}
	must(t, addHeader(tr, "p", h, body, s))
	must(t, tr.AddHeader("p", &tar.Header{Name: "null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3}, Content{}))
	cmd := exec.Command("tar", "--list", "--verbose", "--numeric-owner", "--utc")
	cmd.Stdin = bytes.NewReader(written(t, tr))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := "crw-rw-rw- 0/0             1,3 2026-11-14 09:30 null\n-rwsr-xr-x 0/0               1 2026-11-14 09:30 ping\n"
	if string(out) != want {
		t.Fatalf("got\n%swant\n%s", out, want)
	}
	r := tar.NewReader(bytes.NewReader(written(t, tr)))
	_, _ = r.Next()
	if got, _ := r.Next(); got.PAXRecords["SCHILY.xattr.security.capability"] != "\x01\x00\x00\x02" {
		t.Fatalf("got %q, want the capability kept", got.PAXRecords)
	}
}

func TestRemovalByPattern(t *testing.T) {
	for pattern, want := range map[string]string{
		"/usr/share/doc/**":      "etc etc/x.conf usr usr/share",
		"/usr/share/doc/*/c*":    "etc etc/x.conf usr usr/share usr/share/doc usr/share/doc/p usr/share/doc/p/deep usr/share/doc/p/deep/er",
		"/**/er":                 "etc etc/x.conf usr usr/share usr/share/doc usr/share/doc/p usr/share/doc/p/copyright usr/share/doc/p/deep",
		"/etc":                   "usr usr/share usr/share/doc usr/share/doc/p usr/share/doc/p/copyright usr/share/doc/p/deep usr/share/doc/p/deep/er",
		"/usr/share/do/**":       "etc etc/x.conf usr usr/share usr/share/doc usr/share/doc/p usr/share/doc/p/copyright usr/share/doc/p/deep usr/share/doc/p/deep/er",
		"/usr/share/doc/p/**/er": "etc etc/x.conf usr usr/share usr/share/doc usr/share/doc/p usr/share/doc/p/copyright usr/share/doc/p/deep",
	} {
		tr, s := New(), testSpool(t)
		for _, n := range []string{"usr/share/doc/p/copyright", "usr/share/doc/p/deep/er", "etc/x.conf"} {
			must(t, addFile(t, tr, s, "p", n, ""))
		}
		must(t, tr.Remove(pattern))
		if got := strings.Join(tr.Paths(), " "); got != want {
			t.Errorf("%s: got  %s\nwant %s", pattern, got, want)
		}
	}
	if err := New().Remove("/usr/[a"); err == nil {
		t.Error("a broken pattern was accepted")
	}
}

func TestPathsCannotLeaveTheTree(t *testing.T) {
	tr, s := New(), testSpool(t)
	must(t, addFile(t, tr, s, "p", "../../etc/passwd", "x"))
	must(t, tr.AddHeader("p", &tar.Header{Name: "out", Typeflag: tar.TypeSymlink, Linkname: "../../../"}, Content{}))
	must(t, addFile(t, tr, s, "p", "out/under", "x"))
	must(t, tr.AddHeader("p", &tar.Header{Name: "loop", Typeflag: tar.TypeSymlink, Linkname: "loop"}, Content{}))
	if err := addFile(t, tr, s, "p", "loop/x", "x"); err == nil {
		t.Error("a loop of links was followed to an end")
	}
	if err := addFile(t, tr, s, "p", "etc/passwd/x", "x"); !errors.Is(err, ErrNotDirectory) {
		t.Errorf("got %v, want %v", err, ErrNotDirectory)
	}
	if got := strings.Join(tr.Paths(), " "); got != "etc etc/passwd loop out under" {
		t.Errorf("got %s, want every path inside", got)
	}
}

func TestFolderReadsAsFileSystem(t *testing.T) {
	tr, s := New(), testSpool(t)
	must(t, tr.MergeUsr())
	must(t, addFile(t, tr, s, "linux", "lib/modules/6.1/kernel/a.ko", "ELF"))
	must(t, addFile(t, tr, s, "linux", "lib/modules/6.1/modules.builtin", "kernel/b.ko\n"))
	if err := fstest.TestFS(tr.FS("lib/modules/6.1"), "kernel/a.ko", "modules.builtin"); err != nil {
		t.Fatal(err)
	}
}
