package main

import (
	"fmt"
	"testing"
)

func TestASuitesResultReplacesItsOwnPartOnly(t *testing.T) {
	page := "# One\n\nold\n\n## Within\n\n# Two\n\nstays\n"
	if got, want := replaced(page, "# One\n\nnew\n"), "# One\n\nnew\n\n# Two\n\nstays\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := replaced(page, "# Three\n\nnew\n"), page+"\n# Three\n\nnew\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := replaced("", "# One\n\nnew\n"); got != "# One\n\nnew\n" {
		t.Errorf("got %q", got)
	}
}

func TestWhatTheFirstRunLeavesOutIsToldFromWhatFailed(t *testing.T) {
	run := func(cancel string) *results {
		r, err := parse([]byte(`<testsuites><testsuite tests="3" failures="1" errors="0" skipped="0">
			<testcase name="T/a/x" status="passed"></testcase>
			<testcase name="T/a/cancel" status="` + cancel + `"></testcase>
			<testcase name="T/a/y" status="failed"><system-out>want 1&#10;got 2</system-out></testcase>
		</testsuite></testsuites>`))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	const failed = "- failed in the %s run: T/a/y: want 1 got 2\n"
	want := "\n- off in the first run, passed in the second: T/a/cancel\n" + fmt.Sprintf(failed+failed, "first", "second")
	if got := rest(run("skipped"), run("passed")); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	const skipped = "- skipped in the %s run: T/a/cancel: the suite says no more\n"
	want = "\n" + fmt.Sprintf(skipped+failed+skipped+failed, "first", "first", "second", "second")
	if got := rest(run("skipped"), run("skipped")); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
