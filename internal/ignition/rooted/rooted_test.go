package rooted

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, links map[string]string) (*Dir, string) {
	t.Helper()
	dir := t.TempDir()
	for path, target := range links {
		check(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755))
		check(t, os.Symlink(target, filepath.Join(dir, path)))
	}
	d, err := Open(dir)
	check(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d, dir
}

func TestLinksStartAtTheFolder(t *testing.T) {
	d, _ := open(t, map[string]string{"abs": "/usr/lib", "usr/lib": "lib64/../x", "up": "../../../../etc", "dangling": "nowhere", "last": "/abs/y"})
	for path, want := range map[string]string{
		"/abs/f": "usr/x/f", "/up/passwd": "etc/passwd", "/dangling/f": "nowhere/f", "/last": "last", "/": ".", "/a/../../b": "b", "/last/z": "usr/x/y/z",
	} {
		got, err := d.Resolve(path)
		check(t, err)
		if got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if got, err := d.Follow("/last"); err != nil || got != "usr/x/y" {
		t.Errorf("/last leads to %s (%v)", got, err)
	}
}

func TestALoopOfLinksEnds(t *testing.T) {
	d, _ := open(t, map[string]string{"a": "b", "b": "a"})
	if _, err := d.Resolve("/a/f"); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("got %v", err)
	}
}

func TestALinkThatAppearsAfterwardsLeadsNowhereOutside(t *testing.T) {
	d, dir := open(t, nil)
	at, err := d.Resolve("/etc/f")
	check(t, err)
	outside := t.TempDir()
	check(t, os.Symlink(outside, filepath.Join(dir, "etc")))
	if err := d.WriteFile(at, []byte("x"), 0o644); err == nil {
		t.Error("written through the link")
	}
	if left, _ := os.ReadDir(outside); len(left) != 0 {
		t.Errorf("left outside: %v", left)
	}
}

func TestFoldersHaveTheirModeWhateverTheUmask(t *testing.T) {
	d, dir := open(t, nil)
	defer syscall.Umask(syscall.Umask(0o077))
	check(t, d.Parents("a/b/f"))
	info, err := os.Stat(filepath.Join(dir, "a/b"))
	check(t, err)
	if info.Mode().Perm() != 0o755 {
		t.Errorf("mode is %v", info.Mode())
	}
}
