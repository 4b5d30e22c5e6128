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

// A place is spelled in one way: what is read is what would be written.
//
//fuzz:parser back.go:ParseMark,String
func FuzzParseMark(f *testing.F) {
	for _, text := range []string{"", "1.0", "7.1048576", "2147483647.4611686018427387903", "0.1", "1.-1", "+1.2", "1", "1.2.3", " 1.2"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseMark(text)
		if err != nil {
			if m != (Mark{}) {
				t.Errorf("%q was refused, and is %v", text, m)
			}
			return
		}
		if text == "" {
			return
		}
		if m.File < 1 || m.Offset < 0 {
			t.Errorf("%q is the place %+v", text, m)
		}
		if again, err := ParseMark(m.String()); err != nil || again != m {
			t.Errorf("%q is %v, which is read as %v, %v", text, m, again, err)
		}
	})
}

// Whatever files hold, and wherever reading begins, lines come whole, from the
// last to the first, each with the place at which it stands.
//
//fuzz:parser back.go:Back,backFile
func FuzzBack(f *testing.F) {
	f.Add("a\nb\n", "\nd\ne", uint16(0), 0, int64(0))
	f.Add("", "{}\n", uint16(9), 2, int64(1))
	f.Add("xxxxxxxx", "\nc", uint16(3*backChunk/8), 1, int64(2*backChunk))
	f.Add("a\n\n\nb", "\n", uint16(1), 9, int64(1<<40))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, full, last string, times uint16, file int, offset int64) {
		if file < 0 || offset < 0 {
			return // ParseMark makes none
		}
		full = strings.Repeat(full, min(1+int(times), 4*backChunk/max(1, len(full))))
		texts := map[int]string{1: full, 2: last}
		for name, text := range map[string]string{"audit-1.jsonl": full, File: last} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		from, end := Mark{file, offset}, 0
		err := Back(dir, from, func(line []byte, at Mark) bool {
			text, ok := texts[at.File]
			if !ok || !strings.HasPrefix(text[at.Offset:], string(line)) || strings.Contains(string(line), "\n") || len(line) == 0 {
				t.Fatalf("%v holds no line %.80q", at, line)
			}
			if at.Offset > 0 && text[at.Offset-1] != '\n' {
				t.Fatalf("no line begins at %v", at)
			}
			if from != (Mark{}) && !at.Before(from) {
				t.Fatalf("%v does not stand before %v", at, from)
			}
			from, end = at, end+1
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := linesBefore(full, last, Mark{file, offset}); end != want {
			t.Fatalf("%d lines were told, there are %d", end, want)
		}
	})
}

// linesBefore counts them in another way: forwards.
func linesBefore(full, last string, from Mark) (n int) {
	if (from == Mark{}) || from.File > 2 {
		from = Mark{2, int64(len(last))}
	}
	texts := []string{full, last}[:from.File]
	for i, text := range texts {
		if i == len(texts)-1 {
			text = text[:min(from.Offset, int64(len(text)))]
		}
		for line := range strings.Lines(text) {
			if body := strings.TrimSuffix(line, "\n"); body != "" && len(body) <= backLine {
				n++
			}
		}
	}
	return n
}
