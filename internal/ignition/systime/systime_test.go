package systime

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// golden are the lines of a file of testdata: what was asked, and what systemd
// said.
func golden(t *testing.T, name string) map[string]string {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		question, answer, ok := strings.Cut(lines.Text(), "\t")
		if !ok {
			t.Fatalf("%s: %q has no answer", name, lines.Text())
		}
		all[question] = answer
	}
	if len(all) < 20 {
		t.Fatalf("%s has %d lines", name, len(all))
	}
	return all
}

func TestACalendarIsWhatSystemdSays(t *testing.T) {
	for text, want := range golden(t, "calendar.tsv") {
		if got := answer(text); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

func answer(text string) string {
	c, err := ParseCalendar(text)
	if err != nil {
		return "refused"
	}
	var list []string
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for range 3 {
		next, ok := c.Next(at)
		if !ok {
			break
		}
		at, list = next, append(list, next.Format("Mon 2006-01-02 15:04:05 MST"))
	}
	if len(list) == 0 {
		return "never"
	}
	return strings.Join(list, "|")
}

func TestASpanIsWhatSystemdSays(t *testing.T) {
	for text, want := range golden(t, "timespan.tsv") {
		got := "refused"
		if d, err := Span(text); err == nil && d != Infinity {
			got = strconv.FormatInt(d.Microseconds(), 10)
		} else if d == Infinity {
			got = "18446744073709551615" // UINT64_MAX
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

func TestWhatTheClocksLeaveOutDoesNotCome(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zones here: install tzdata")
	}
	c, err := ParseCalendar("*-*-* 02:30:00")
	if err != nil {
		t.Fatal(err)
	}
	got, ok := c.Next(time.Date(2027, 3, 27, 12, 0, 0, 0, zone)) // clocks go from 2 to 3 on the 28th
	if want := time.Date(2027, 3, 29, 2, 30, 0, 0, zone); !ok || !got.Equal(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func FuzzParseCalendar(f *testing.F) {
	for _, s := range []string{"Mon..Fri *-*-* 10:00", "*-05~07/1", "quarterly", "0/7:00 UTC"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCalendar(text)
		if err != nil {
			return
		}
		from := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
		if next, ok := c.Next(from); ok && !next.After(from) {
			t.Errorf("%q: next is %v", text, next)
		}
	})
}

//fuzz:parser span.go
func FuzzSpan(f *testing.F) {
	for _, s := range []string{"5min 20s", "1.5h", "infinity"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := Span(text); err == nil && d < 0 {
			t.Errorf("%q: got %v", text, d)
		}
	})
}
