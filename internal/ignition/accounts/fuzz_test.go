package accounts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition/rooted"
)

// Whatever a root's files hold, a user is added beside what is there, or
// nothing is written.
//
//fuzz:parser table.go:parse defs.go ids.go
func FuzzFiles(f *testing.F) {
	f.Add("root:x:0:0::/:/bin/sh\n", "root:x:0:\n", "UID_MIN 1000\nGID_MAX 0x10\n", "a:100000:65536\n")
	f.Add("x:y:z:0:::\n\n#", "u:x:-5:u,u\nbroken", "UMASK\nHOME_MODE 99999999999", "::\na:9999999999999999999:1")
	f.Add("a:x:1000:1000::/h:", "", "UID_MIN 1\nUID_MAX 3\nSYS_UID_MAX -9", "a:1:0\nb:0:999999999")
	f.Fuzz(func(t *testing.T, passwd, group, defs, subuid string) {
		dir := t.TempDir()
		for name, text := range map[string]string{"passwd": passwd, "group": group, "login.defs": defs, "subuid": subuid} {
			check(t, os.MkdirAll(filepath.Join(dir, "etc"), 0o755))
			check(t, os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o644))
		}
		d, err := rooted.Open(dir)
		check(t, err)
		defer func() { check(t, d.Close()) }()
		no := true
		err = New(Config{Dir: d, Now: time.Now}).EnsureUser(types.PasswdUser{Name: "new-one", NoCreateHome: &no, System: &no})
		after, readErr := os.ReadFile(filepath.Join(dir, "etc/passwd"))
		check(t, readErr)
		if err != nil && string(after) != passwd {
			t.Errorf("failed (%v), and wrote %q", err, after)
		}
		if err == nil && !strings.HasPrefix(string(after), strings.TrimSuffix(passwd, "\n")) {
			t.Errorf("%q became %q", passwd, after)
		}
	})
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
