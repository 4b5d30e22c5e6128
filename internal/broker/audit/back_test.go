package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func written(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func backwards(t *testing.T, dir string, from Mark, most int) (lines []string, last Mark) {
	t.Helper()
	err := Back(dir, from, func(line []byte, at Mark) bool {
		lines, last = append(lines, string(line)), at
		return len(lines) < most
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines, last
}

func TestALogIsReadBackwardsOverItsFiles(t *testing.T) {
	long := strings.Repeat("x", 3*backChunk)
	dir := written(t, map[string]string{"audit-1.jsonl": "a\nb\n", "audit-2.jsonl": long + "\nc\n", File: "\nd\ne"})
	want := []string{"e", "d", "c", long, "b", "a"}
	if got, _ := backwards(t, dir, Mark{}, 100); !slices.Equal(got, want) {
		t.Errorf("got %d lines: %.80q", len(got), got)
	}
	var at Mark
	for i := range want { // one at a time, on from where the last began
		got, next := backwards(t, dir, at, 1)
		if len(got) != 1 || got[0] != want[i] {
			t.Fatalf("line %d from %v: got %.80q, want %.80q", i, at, got, want[i])
		}
		if at != (Mark{}) && !next.Before(at) {
			t.Errorf("%v stands before %v", next, at)
		}
		if at = next; at.Offset == 0 && at.File == 1 {
			break
		}
	}
	if got, _ := backwards(t, dir, Mark{1, 0}, 1); len(got) != 0 {
		t.Errorf("before the first line: %q", got)
	}
}

func TestALineOfMegabytesIsNoEntry(t *testing.T) {
	dir := written(t, map[string]string{File: "a\n" + strings.Repeat("x", 5<<20) + "\nb\n"})
	if got, _ := backwards(t, dir, Mark{}, 100); !slices.Equal(got, []string{"b", "a"}) {
		t.Errorf("got %d lines: %.20q", len(got), got)
	}
}

func TestMarksAreReadAsTheyAreWritten(t *testing.T) {
	for _, m := range []Mark{{1, 0}, {12, 1 << 40}} {
		if got, err := ParseMark(m.String()); err != nil || got != m {
			t.Errorf("%v: got %v, %v", m, got, err)
		}
	}
	for _, text := range []string{"0.1", "x", "1", "1.-1", "1.1.1", "-1.0", fmt.Sprint(1<<40, ".0")} {
		if got, err := ParseMark(text); err == nil {
			t.Errorf("%q: got %v", text, got)
		}
	}
}
