package gocmd

import (
	"bytes"
	"strings"

	"holdfast/internal/progress"
)

// A talk is what "go build -v" says: a line for each package that it compiles,
// one for each module that it downloads, and what went wrong.
type talk struct {
	step progress.Step
	rest []byte   // a line that has not ended
	bad  []string // what went wrong
}

// maxProblems is how many lines of an error are worth reading.
const maxProblems = 20

func (t *talk) Write(p []byte) (int, error) {
	t.rest = append(t.rest, p...)
	for {
		line, rest, whole := bytes.Cut(t.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		t.line(string(line))
		t.rest = rest
	}
}

func (t *talk) line(line string) {
	module, downloads := strings.CutPrefix(line, "go: downloading ")
	switch {
	case downloads:
		t.step.Note("download " + module)
	case !strings.Contains(line, " ") && line != "":
		t.step.Add(1)
		t.step.Note(line)
	case len(t.bad) < maxProblems:
		t.bad = append(t.bad, line)
	}
}

// String is what went wrong.
func (t *talk) String() string {
	return strings.Join(append(t.bad, string(t.rest)), "\n")
}
