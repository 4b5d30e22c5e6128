package deb

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"iter"
	"strings"
)

// A Paragraph is one stanza of a control file, as written (deb822(5)).
type Paragraph string

// maxParagraph is far above the largest known, a Release of 150 kB.
const maxParagraph = 4 << 20

// Get gives a field's value, "" if it is absent. Its lines are joined by
// "\n", without the blank that begins each continuation line.
func (p Paragraph) Get(field string) string {
	rest := string(p)
	for rest != "" {
		var line string
		line, rest = cutField(rest)
		name, value, ok := strings.Cut(line, ":")
		if ok && strings.EqualFold(name, field) {
			return unfold(value)
		}
	}
	return ""
}

// cutField splits s behind its first line and the lines that continue it.
func cutField(s string) (field, rest string) {
	end := 0
	for {
		i := strings.IndexByte(s[end:], '\n')
		if i < 0 {
			return s, ""
		}
		end += i + 1
		if end == len(s) || s[end] != ' ' && s[end] != '\t' {
			return s[:end-1], s[end:]
		}
	}
}

func unfold(value string) string {
	value = strings.TrimSpace(value)
	if !strings.Contains(value, "\n") {
		return value
	}
	lines := strings.Split(value, "\n")
	for i := range lines {
		lines[i] = strings.Trim(lines[i], " \t\r")
	}
	return strings.Join(lines, "\n")
}

// fields splits a value that is a list of words.
func (p Paragraph) fields(field string) []string { return strings.Fields(p.Get(field)) }

// Paragraphs gives the stanzas of r one after the other; an error ends them.
func Paragraphs(r io.Reader) iter.Seq2[Paragraph, error] {
	return func(yield func(Paragraph, error) bool) {
		s := bufio.NewScanner(r)
		s.Buffer(make([]byte, 64<<10), maxParagraph)
		s.Split(splitParagraph)
		for s.Scan() {
			if !yield(Paragraph(s.Text()), nil) {
				return
			}
		}
		if err := s.Err(); err != nil {
			yield("", fmt.Errorf("control file: %w", err))
		}
	}
}

func splitParagraph(data []byte, atEOF bool) (advance int, token []byte, err error) {
	start := 0
	for start < len(data) && data[start] == '\n' {
		start++
	}
	if i := bytes.Index(data[start:], []byte("\n\n")); i >= 0 {
		return start + i + 2, data[start : start+i+1], nil
	}
	if atEOF && start < len(data) {
		return len(data), data[start:], nil
	}
	return start, nil, nil
}
