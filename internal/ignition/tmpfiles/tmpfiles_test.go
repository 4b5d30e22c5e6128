package tmpfiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tree makes a root: "DIR/" is a folder, "-> TARGET" a link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"etc/tmpfiles.d", "var", "run"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		at := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			err = errors.Join(err, os.Symlink(target, at))
		} else if strings.HasSuffix(name, "/") {
			err = errors.Join(err, os.MkdirAll(at, 0o755))
		} else {
			err = errors.Join(err, os.WriteFile(at, []byte(text), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// look is all that is in a tree, a line each.
func look(t *testing.T, root string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st, _ := info.Sys().(*syscall.Stat_t)
		name, _ := filepath.Rel(root, p)
		line := fmt.Sprintf("%s %v %d:%d", name, info.Mode(), st.Uid, st.Gid)
		if target, err := os.Readlink(p); err == nil {
			line += " -> " + target
		} else if d.Type().IsRegular() {
			raw, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %q", raw)
		}
		list = append(list, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// world is what lines are applied to.
func world(lines string) map[string]string {
	return map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nada:x:1001:1002::/home/ada:/bin/sh\n", "etc/group": "root:x:0:\nada:x:1002:\n",
		"etc/tmpfiles.d/a.conf": lines,
		"var/old":               "old\n", "var/full/a": "a", "var/full/b/c": "c", "var/empty/": "", "var/exec": "x", "var/link": "-> old",
		"usr/share/factory/etc/made": "factory\n", "src/f": "f\n", "src/d/g": "g\n", "src/l": "-> f",
	}
}

// cases are lines that both have to apply alike.
var cases = []string{
	"d /var/new", "d /var/new 0700 ada ada", "d /var/a/b/c 1777 ada", "d /var/full 0700", "D /var/full", "D! /var/full 0750 - ada",
	"f /var/new", "f /var/new 0600 ada - - text\\n", "f /var/old - - - - new", "F /var/old 0640 - - - new", "f+ /var/old - - - - new", "F /var/new 0604 1001 1002 - a\\x41\\tb",
	"w /var/old - - - - b", "w+ /var/old - - - - more", "w /var/absent - - - - x", "w /var/ol? - - - - y",
	"L /var/l - - - - old", "L /var/old - - - - other", "L+ /var/old - - - - other", "L+ /var/full - - - - other", "L /etc/made", "L /var/link - - - - old",
	"C /var/copy - - - - /src", "C /var/empty 0700 - - - /src", "C /var/full - - - - /src", "C /etc/made", "C /var/f 0600 ada - - /src/f",
	"z /var/old 0600 ada ada", "z /var/ol* 0640", "Z /var/full 0700 ada ada", "Z /var/full ~0666", "z /var/old ~0777", "z /var/exec :0600",
	"e /var/full 0700 ada", "e /var/absent 0700", "e /var/old 0700", "e /var/f* 0711",
	"r /var/old", "r /var/full", "r /var/empty", "R /var/full", "R /var/f*", "r /var/*", "R /var/absent", "r! /var/old",
	"p /run/pipe 0600 ada", "p+ /var/old", "p /var/old",
	"d= /var/old", "f= /var/full", "L= /var/old - - - - x",
	"v /var/vol 0711", "q /var/vol", "Q /var/vol",
	"d /var/lib/%%", "d \"/var/with space\" 0700",
	"d /var/new 0700 :ada :ada", "d /var/full :0700 :ada",
	"# comment\n\n  d   /var/new\t0700   \n", "d /var/a/b 0700\nd /var/a 0711", "d /var/new 0700\nd /var/new 0755", "f /var/new - - - - a\nw /var/new - - - - b",
	"w+ /var/old - - - - a\nw+ /var/old - - - - b", "w /var/old - - - - a\nw /var/old - - - - b",
	"d- /var/old\nd /var/new", "w /var/old - - - - a\nw+ /var/old - - - - b",
	"x /var/full", "X /var/full",
	"d /var/link/x", "f /var/sub/file - - - - %% done",
}

// TestALineDoesWhatSystemdTmpfilesDoes asks Debian's systemd-tmpfiles for the
// truth.
func TestALineDoesWhatSystemdTmpfilesDoes(t *testing.T) {
	theirs, err := exec.LookPath("systemd-tmpfiles")
	if err != nil || os.Getuid() != 0 {
		t.Skip("wants systemd-tmpfiles, which make test installs, and root")
	}
	for _, lines := range cases {
		want := tree(t, world(lines))
		out, err := exec.Command(theirs, "--root="+want, "--create", "--remove", "--boot").CombinedOutput()
		got := tree(t, world(lines))
		ours := apply(got)
		if a, b := look(t, got), look(t, want); !slices.Equal(a, b) {
			t.Errorf("%q: got\n\t%s\nwant\n\t%s\n%s%v\nours: %v", lines, strings.Join(only(a, b), "\n\t"), strings.Join(only(b, a), "\n\t"), out, err, ours)
		}
	}
}

func only(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

func apply(root string) error {
	s, err := Load(Config{Root: root, Host: Host{MachineID: "00000000000000000000000000000000"}})
	if err != nil {
		return err
	}
	return errors.Join(s.Apply(true), s.Close())
}

func TestWhatIsOutsideTheSubsetIsNamedByItsLine(t *testing.T) {
	for line, want := range map[string]string{
		"b /dev/x - - - - 1:2": "type \"b\" is outside", "d": "has no path", "d var": "not absolute", "d /a/../b": ". or ..", "d /": "root itself",
		"d /a 888": "octal", "d /a - a:b": "no name of an account", "d /a - - - am:1d": "single times", "d /a - - - 1fortnight": "unit of time", "f /a - - - 1d": "has no age",
		"d /a - - - - x": "has no argument", "d^ /a": "modifier ^", "w /a": "nothing to write", "d \"/a": "not closed", "d /%y": "specifier %y", "d /a\\x20b": "backslash", "f /a - - - - \\q": "escape",
		"C /a - - - - b": "no absolute path", "d /a\x00": "NUL", "f~ /a": "modifier ~",
	} {
		_, err := Load(Config{Root: tree(t, map[string]string{"etc/tmpfiles.d/a.conf": "\n" + line + "\n"})})
		if err == nil || !strings.Contains(err.Error(), "/etc/tmpfiles.d/a.conf:2: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want line 2 and %s", line, err, want)
		}
	}
}

func TestOldThingsAreCleanedUp(t *testing.T) {
	root := tree(t, map[string]string{"var/t/old": "", "var/t/new": "", "var/t/d/old": "", "var/t/kept/old": "", "var/t/alone/old": "", "var/t/own/old": "",
		"etc/tmpfiles.d/a.conf": "d /var/t - - - 10d\nx /var/t/kept\nX /var/t/alone\nd /var/t/own\n"})
	s, err := Load(Config{Root: root, Now: func() time.Time { return time.Now().Add(20 * 24 * time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := os.Chtimes(filepath.Join(root, "var/t/new"), time.Time{}, time.Now().Add(15*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := s.Clean(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range look(t, filepath.Join(root, "var/t")) {
		got = append(got, strings.Fields(line)[0])
	}
	if want := []string{"alone", "kept", "kept/old", "new", "own", "own/old"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNoLinkLeadsOutOfTheRoot(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "f"), []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	root := tree(t, map[string]string{"var/out": "-> " + outside, "var/up": "-> ../../../../../.." + outside,
		"etc/tmpfiles.d/a.conf": "R /var/out/*\nR /var/up/*\nF /var/out/f - - - - x\nw /var/up/f - - - - x\nZ /var/out 0000\nD /var/out\n"})
	_ = apply(root) // some lines cannot be done
	if raw, err := os.ReadFile(filepath.Join(outside, "f")); err != nil || string(raw) != "kept" {
		t.Errorf("got %q, %v, want it kept", raw, err)
	}
}

//fuzz:parser parse.go
func FuzzParse(f *testing.F) {
	for _, line := range cases {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		lines, _ := Parse("f", raw, Host{})
		for _, l := range lines {
			if !strings.HasPrefix(l.Path, "/") || l.Path == "/" || strings.Contains(l.Path+"/", "/../") {
				t.Errorf("got path %q", l.Path)
			}
		}
	})
}
