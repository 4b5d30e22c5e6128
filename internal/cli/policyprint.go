package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"holdfast/internal/policy"
)

// A palette colours what holds and what does not, on terminals only.
type palette struct{ yes, no, faint, end string }

func (a *app) colours() palette {
	f, ok := a.Stdout.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || a.Getenv("TERM") == "dumb" || a.Getenv("NO_COLOR") != "" {
		return palette{}
	}
	return palette{yes: "\x1b[32m", no: "\x1b[31m", faint: "\x1b[2m", end: "\x1b[0m"}
}

func (t policyTrial) print(w io.Writer, c palette) {
	if t.Allow != nil {
		t.printDecision(w, c)
	}
	for _, u := range t.Tests {
		word := c.no + "FAIL" + c.end
		switch {
		case u.Skipped:
			word = c.faint + "skip" + c.end
		case u.Pass:
			word = c.yes + "pass" + c.end
		}
		fmt.Fprintf(w, "%s  %s  %s:%d\n", word, printable(u.Name), printable(u.File), u.Row)
		if u.Failure != "" {
			fmt.Fprintf(w, "      %s\n", printable(u.Failure))
		}
	}
	if t.Coverage != nil {
		fmt.Fprintf(w, "%.0f%% of the policy's lines were covered\n", t.Coverage.Percent)
	}
}

func (t policyTrial) printDecision(w io.Writer, c palette) {
	word := c.no + "refused" + c.end
	if *t.Allow {
		word = c.yes + "allowed" + c.end
	}
	fmt.Fprintf(w, "%s by %s, asked as in %s\n", word, t.Engine, printable(t.Question))
	at := map[string]policy.Line{}
	for _, s := range t.Said {
		at[s.Reason] = s.Line
	}
	for _, reason := range t.Reasons {
		fmt.Fprintf(w, "  %s\n", printable(reason))
		if line, ok := at[reason]; ok {
			fmt.Fprintf(w, "    %ssaid at %s:%d%s\n", c.faint, printable(line.File), line.Row, c.end)
		}
	}
	for _, s := range t.Steps {
		printStep(w, c, s)
	}
}

func printStep(w io.Writer, c palette, s policy.Step) {
	indent := strings.Repeat("  ", s.Depth)
	word := c.no + "no " + c.end
	if s.Holds {
		word = c.yes + "yes" + c.end
	}
	fmt.Fprintf(w, "%s %s%s:%d  %s\n", word, indent, printable(s.File), s.Row, printable(s.Text))
	for _, v := range s.Values {
		value := "is not there"
		if v.Value != nil {
			value = "= " + printable(*v.Value)
		}
		fmt.Fprintf(w, "    %s  %s%s %s%s\n", indent, c.faint, printable(v.Name), value, c.end)
	}
}
