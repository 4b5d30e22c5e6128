package cpio

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func archive(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b, time.Unix(1700000000, 0))
	for _, e := range []Entry{
		Dir("dev", 0o755),
		Char("dev/console", 0o600, 5, 1),
		File("init", 0o755, 5, strings.NewReader("hello")),
		{Name: "owned", Mode: TypeFile | 0o640, UID: 7, GID: 8},
		Symlink("sbin", "usr/sbin"),
	} {
		if err := w.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestCpioListsTheArchive(t *testing.T) {
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skip("needs cpio: apt install cpio")
	}
	cmd := exec.Command("cpio", "-tvn", "--quiet")
	cmd.Env = []string{"TZ=UTC", "LC_ALL=C"}
	cmd.Stdin = bytes.NewReader(archive(t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := `drwxr-xr-x   2 0        0               0 Nov 14  2023 dev
crw-------   1 0        0          5,   1 Nov 14  2023 dev/console
-rwxr-xr-x   1 0        0               5 Nov 14  2023 init
-rw-r-----   1 7        8               0 Nov 14  2023 owned
lrwxrwxrwx   1 0        0               8 Nov 14  2023 sbin -> usr/sbin
`
	if string(out) != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
}

func TestSameEntriesSameBytes(t *testing.T) {
	if !bytes.Equal(archive(t), archive(t)) {
		t.Error("archives differ")
	}
}

func TestBadEntriesAreRefused(t *testing.T) {
	for name, e := range map[string]Entry{
		"absolute":      Dir("/dev", 0o755),
		"no folder":     Dir("a/b", 0o755),
		"short content": File("x", 0o600, 10, strings.NewReader("hello")),
		"no content":    {Name: "x", Mode: TypeFile, Size: 1},
	} {
		if err := NewWriter(&bytes.Buffer{}, time.Time{}).Add(e); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
