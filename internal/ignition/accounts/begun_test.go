package accounts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition/rooted"
)

var ada = types.PasswdUser{Name: "ada", Groups: []types.Group{"wheel"}}

// newRoot has all files that keep accounts, and a skeleton.
func newRoot(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("gives files to users, as root: run make test as root")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/shadow": "root:*:1::::::\n", "etc/group": "root:x:0:\nwheel:x:10:\n", "etc/gshadow": "root:*::\nwheel:*::\n",
		"etc/subuid": "", "etc/subgid": "", "etc/login.defs": "USERGROUPS_ENAB yes\nUID_MIN 1000\nUID_MAX 60000\nGID_MIN 1000\nGID_MAX 60000\nCREATE_MAIL_SPOOL yes\n", "etc/skel/.profile": "of the skeleton\n", "home/.keep": "", "var/mail/.keep": "",
	} {
		check(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return dir
}

func ensure(t *testing.T, dir string) error {
	t.Helper()
	return ensureUser(t, dir, ada)
}

func ensureUser(t *testing.T, dir string, u types.PasswdUser) error {
	t.Helper()
	d, err := rooted.Open(dir)
	check(t, err)
	defer func() { check(t, d.Close()) }()
	return New(Config{Dir: d, Now: func() time.Time { return time.Unix(0, 0) }}).EnsureUser(u)
}

// listing is what the root has, but for the copies of what was before.
func listing(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	check(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || strings.HasSuffix(path, "-") {
			return err
		}
		info, err := e.Info()
		check(t, err)
		line := fmt.Sprintf("%s %v of %d", strings.TrimPrefix(path, dir), info.Mode(), info.Sys().(*syscall.Stat_t).Uid)
		if e.Type().IsRegular() {
			raw, err := os.ReadFile(path)
			check(t, err)
			line += " " + string(raw)
		}
		list = append(list, line)
		return nil
	}))
	return list
}

// A user takes several files and a folder: whichever of them a run was cut off
// before, the next makes the same user.
func TestAUserThatWasCutOffIsMadeWhole(t *testing.T) {
	whole := newRoot(t)
	check(t, ensure(t, whole))
	want := listing(t, whole)
	var record []byte
	for _, before := range []string{".ignition-begun-user", "passwd", "shadow", "group", "gshadow", "subuid", "subgid"} {
		dir := newRoot(t)
		inTheWay := filepath.Join(dir, "etc", before+"+")
		check(t, os.Mkdir(inTheWay, 0o755))
		if ensure(t, dir) == nil {
			t.Fatalf("%s: nothing was in the way", before)
		}
		check(t, os.Remove(inTheWay))
		record, _ = os.ReadFile(filepath.Join(dir, begunPath)) // the first is cut off before it
		check(t, ensure(t, dir))
		if got := listing(t, dir); !slices.Equal(got, want) {
			t.Errorf("cut before %s: got\n%s\nwant\n%s", before, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	t.Run("its home and mailbox", func(t *testing.T) {
		check(t, os.WriteFile(filepath.Join(whole, begunPath), record, 0o600))
		check(t, os.Truncate(filepath.Join(whole, "home/ada/.profile"), 0))
		box := filepath.Join(whole, "var/mail/ada")
		check(t, errors.Join(os.Chmod(box, 0o600), os.Lchown(box, 0, 0)))
		check(t, ensure(t, whole))
		if got := listing(t, whole); !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// A deletion goes as far.
func TestAUserWhoseDeletionWasCutOffIsGone(t *testing.T) {
	no, want := false, listing(t, newRoot(t))
	for _, before := range []string{".ignition-begun-user", "passwd", "shadow", "group", "gshadow", "subuid", "subgid"} {
		dir := newRoot(t)
		check(t, ensure(t, dir))
		inTheWay := filepath.Join(dir, "etc", before+"+")
		check(t, os.Mkdir(inTheWay, 0o755))
		if ensureUser(t, dir, types.PasswdUser{Name: "ada", ShouldExist: &no}) == nil {
			t.Fatalf("%s: nothing was in the way", before)
		}
		check(t, os.Remove(inTheWay))
		check(t, ensureUser(t, dir, types.PasswdUser{Name: "ada", ShouldExist: &no}))
		if got := listing(t, dir); !slices.Equal(got, want) {
			t.Errorf("cut before %s: got\n%s\nwant\n%s", before, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// What was there before the user is not the run's to take.
func TestAHomeThatWasThereIsNotTakenBack(t *testing.T) {
	dir := newRoot(t)
	kept := filepath.Join(dir, "home/ada/kept")
	check(t, os.MkdirAll(filepath.Dir(kept), 0o755))
	check(t, os.WriteFile(kept, []byte("kept"), 0o644))
	inTheWay := filepath.Join(dir, "etc/subgid+")
	check(t, os.Mkdir(inTheWay, 0o755))
	if ensure(t, dir) == nil {
		t.Fatal("nothing was in the way")
	}
	check(t, os.Remove(inTheWay))
	check(t, ensure(t, dir))
	if raw, err := os.ReadFile(kept); err != nil || string(raw) != "kept" {
		t.Errorf("got %q, %v", raw, err)
	}
}
