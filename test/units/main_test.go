package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUnitsAreCountedByWhatKeepsThemOut(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a/lib/systemd/system/a.service":      "[Service]\nExecStart=/bin/a\n",
		"a/lib/systemd/system/a.socket":       "[Socket]\nListenStream=1\n",
		"b/usr/lib/systemd/system/b.service":  "[Unit]\nRequires=a.service c.socket\n[Service]\nExecStart=/bin/b\nSystemCallFilter=@file-system\n",
		"b/usr/lib/systemd/system/b2.service": "[Service]\nExecStart=/bin/b\nSystemCallFilter=@file-system\n",
		"none/usr/share/doc/none":             "",
	} {
		at := filepath.Join(dir, "packages", name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page := filepath.Join(dir, "page.md")
	if err := os.WriteFile(page, []byte("# Page\n\n"+title+"\n\nold\n\n## Next\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(page, []string{filepath.Join(dir, "packages")}); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"reads the 4 units of 2 packages of Debian, each package by itself: 1 are inside", "| `SystemCallFilter` | 2 | 1 |", "| it is a `.socket` | 1 | 1 |",
		"| it requires a unit of another package | 1 | 0 |", "| it requires a `.socket` | 1 | 0 |", "The packages: a, b.", "\n## Next\n"} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("got\n%s\nwant %q in it", raw, want)
		}
	}
	if strings.Contains(string(raw), "old") {
		t.Error("the section before is still there")
	}
}
