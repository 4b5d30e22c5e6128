package units

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of unit files. systemd's for a line is the same (LONG_LINE_MAX).
const (
	maxFile = 4 << 20
	maxLine = 1 << 20
)

// An assignment is one line NAME=VALUE of a section.
type assignment struct {
	Place
	value string
}

// read reads a unit file by the rules of systemd.syntax(7).
func read(file, unit string, raw []byte) (list []assignment, wrong []Problem) {
	at := Place{File: file, Unit: unit}
	bad := func(line int, format string, args ...any) {
		at := at
		at.Line = line
		wrong = append(wrong, Problem{Place: at, Problem: fmt.Sprintf(format, args...)})
	}
	switch {
	case len(raw) > maxFile:
		bad(0, "has more than %d bytes", maxFile)
		return nil, wrong
	case bytes.IndexByte(raw, 0) >= 0:
		bad(1+bytes.Count(raw[:bytes.IndexByte(raw, 0)], []byte("\n")), "has a NUL in it")
		return nil, wrong
	}
	raw = bytes.TrimPrefix(raw, []byte("\ufeff"))
	for _, l := range logicalLines(string(raw)) {
		switch {
		case len(l.text) > maxLine:
			bad(l.number, "the line has more than %d bytes", maxLine)
		case !utf8.ValidString(l.text):
			bad(l.number, "the line is not UTF-8")
		case l.text[0] == '[':
			if !strings.HasSuffix(l.text, "]") || len(l.text) < 3 {
				bad(l.number, "the section's name is not closed by a bracket")
			}
			at.Section = strings.Trim(l.text, "[]")
		default:
			name, value, assigns := strings.Cut(l.text, "=")
			at := at
			at.Line, at.Directive = l.number, strings.TrimSpace(name)
			switch {
			case !assigns:
				bad(l.number, "the line has no =")
			case at.Section == "":
				bad(l.number, "the line stands before any section")
			case at.Directive == "":
				bad(l.number, "the line has no name before =")
			default:
				list = append(list, assignment{at, strings.TrimSpace(value)})
			}
		}
	}
	return list, wrong
}

// A line is what a backslash at its end has joined to one.
type line struct {
	number int // of its first
	text   string
}

// logicalLines leaves out comments and empty lines. A comment between lines that
// are joined is left out, too, and does not end them.
func logicalLines(text string) []line {
	var lines []line
	var joined strings.Builder
	start, number := 0, 0
	flush := func() {
		if t := strings.TrimSpace(joined.String()); t != "" {
			lines = append(lines, line{start, t})
		}
		joined.Reset()
		start = 0
	}
	for raw := range strings.SplitSeq(text, "\n") {
		number++
		raw = strings.TrimSuffix(raw, "\r")
		bare := strings.TrimLeft(raw, " \t")
		if bare != "" && (bare[0] == '#' || bare[0] == ';') {
			continue
		}
		if start == 0 {
			start, raw = number, bare
		}
		more, goesOn := continued(raw)
		joined.WriteString(more)
		if !goesOn {
			flush()
		}
	}
	flush()
	return lines
}

// continued says whether a line ends in a backslash that stands for itself; it
// becomes a space.
func continued(raw string) (text string, goesOn bool) {
	slashes := len(raw) - len(strings.TrimRight(raw, `\`))
	if slashes%2 == 0 {
		return raw, false
	}
	return raw[:len(raw)-1] + " ", true
}
