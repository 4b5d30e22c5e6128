package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"holdfast/internal/progress"
)

func testMeter(style meterStyle) (*meter, *bytes.Buffer, *time.Time) {
	var out bytes.Buffer
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	m := newMeter(&out, style, 60)
	m.now = func() time.Time { return at }
	return m, &out, &at
}

func TestLinesSayWhatEndedAndHow(t *testing.T) {
	m, out, at := testMeter(lines)
	s := m.Start("fetch packages", 100, progress.Bytes)
	*at = at.Add(3 * time.Second)
	s.Done("12 packages")
	m.Start("boot", 0, progress.None).Fail()
	m.Close()
	want := "  ✓ fetch packages: 12 packages (3s)\n  ✗ boot (0s)\n"
	if out.String() != want {
		t.Fatalf("got %q, want %q", out, want)
	}
}

func TestALongStepIsNotSilent(t *testing.T) {
	m, out, at := testMeter(quiet) // no ticker: the test calls refresh
	m.style = lines
	m.stop = make(chan struct{})
	s := m.Start("fetch", 4e6, progress.Bytes)
	s.Add(1e6)
	*at = at.Add(noteAfter)
	m.refresh()
	if want := "  … fetch, 1.0 MB of 4.0 MB (2s)\n"; out.String() != want {
		t.Fatalf("got %q, want %q", out, want)
	}
	m.refresh()
	if got := strings.Count(out.String(), "\n"); got != 1 {
		t.Fatalf("got %d lines at once, want 1", got)
	}
}

func TestBarIsErasedBeforeTextAndNeverTooWide(t *testing.T) {
	m, out, at := testMeter(quiet)
	m.style = bar
	m.stop = make(chan struct{})
	m.Start(strings.Repeat("x", 100), 10, progress.Items).Add(5)
	*at = at.Add(time.Second)
	m.refresh()
	drawn := strings.TrimPrefix(out.String(), "\r\x1b[K")
	if n := len([]rune(drawn)); n >= m.width {
		t.Fatalf("got a line of %d cells, want fewer than %d", n, m.width)
	}
	if !strings.Contains(drawn, "[████████········]") {
		t.Fatalf("got %q, want a half-full bar", drawn)
	}
	out.Reset()
	if _, err := m.Write([]byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	if want := "\r\x1b[Khello\n"; out.String() != want {
		t.Fatalf("got %q, want %q", out, want)
	}
}

func TestJSONLinesAreOneObjectEach(t *testing.T) {
	m, out, _ := testMeter(jsonLines)
	s := m.Start("pull", 7, progress.Bytes)
	s.Add(7)
	s.Done("ok")
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var v struct {
			Step  string
			Event string
			Total int64
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil || v.Step != "pull" || v.Total != 7 {
			t.Fatalf("line %q: got %+v, %v", line, v, err)
		}
	}
}
