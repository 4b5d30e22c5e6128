package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"holdfast/internal/atomicfile"
)

// The table of docs/fuzzing.md stands between these lines.
const (
	tableBegins = "<!-- by go run ./test/fuzz report; do not edit -->\n"
	tableEnds   = "<!-- end -->\n"
)

// report writes the record into the page, and says in the record which code
// each target attacks. Targets that are gone leave both.
func (c *config) report(_ context.Context, targets []*Target) error {
	record, err := c.load()
	if err != nil {
		return err
	}
	now := Record{}
	for _, t := range targets {
		now[t.Key()] = record.of(t)
		now[t.Key()].Code = t.code()
	}
	if err := c.save(now); err != nil {
		return err
	}
	page := filepath.Join(c.root, "docs/fuzzing.md")
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), tableBegins)
	_, after, ends := strings.Cut(rest, tableEnds)
	if !ok || !ends {
		return fmt.Errorf("%s: has no %q", page, tableBegins)
	}
	return atomicfile.WriteFile(page, []byte(before+tableBegins+now.table()+tableEnds+after), 0o644)
}

// code is what a target attacks, in few words.
func (t *Target) code() string {
	var list []string
	for _, code := range t.Parser {
		name, err := filepath.Rel(t.Dir, code.File)
		if err != nil {
			name = code.File
		}
		if n := len(code.Funcs); n > 0 {
			name += ": " + strings.Join(code.Funcs[:min(n, 3)], ", ")
			if n > 3 {
				name += ", …"
			}
		}
		list = append(list, name)
	}
	if len(list) > 4 {
		list = append(list[:3], "…")
	}
	return strings.Join(list, "; ")
}

// table is the record in Markdown.
func (r Record) table() string {
	var b strings.Builder
	b.WriteString("\n| target | parser | CPU minutes | executions | inputs | statements reached | failures so far |\n|---|---|---:|---:|---:|---:|---:|\n")
	var cpu float64
	var executions int64
	var fixed, covered, all int
	for _, key := range slices.Sorted(maps.Keys(r)) {
		a := r[key]
		dir, name, _ := strings.Cut(key, " ")
		fmt.Fprintf(&b, "| %s `%s` | %s | %.1f | %s | %d | %s | %s |\n", strings.TrimPrefix(dir, "internal/"), name, a.Code,
			a.CPUSeconds/60, thousands(a.Executions), a.Inputs, share(a.Covered, a.Statements), none(a.Fixed+a.Findings))
		cpu, executions, fixed = cpu+a.CPUSeconds, executions+a.Executions, fixed+a.Fixed+a.Findings
		covered, all = covered+a.Covered, all+a.Statements
	}
	fmt.Fprintf(&b, "| %d targets | | %.0f | %s | | %s | %d |\n\n", len(r), cpu/60, thousands(executions), share(covered, all), fixed)
	return b.String()
}

func share(part, all int) string {
	if all == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f %% of %d", 100*float64(part)/float64(all), all)
}

func thousands(n int64) string {
	switch {
	case n >= 10_000_000:
		return fmt.Sprintf("%d M", n/1_000_000)
	case n >= 10_000:
		return fmt.Sprintf("%d k", n/1000)
	}
	return fmt.Sprint(n)
}

func none(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}
