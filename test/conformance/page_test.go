package main

import "testing"

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
