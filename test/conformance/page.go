package main

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// results are how the suite's checks ended, as its JUnit report has them.
type results struct {
	Tests    int `xml:"tests,attr"`
	Failures int `xml:"failures,attr"`
	Errors   int `xml:"errors,attr"`
	Skipped  int `xml:"skipped,attr"`
	Cases    []struct {
		Name   string `xml:"name,attr"`
		Status string `xml:"status,attr"`
		Said   string `xml:"system-out"`
	} `xml:"testcase"`
}

func parse(raw []byte) (*results, error) {
	var report struct {
		Suite results `xml:"testsuite"`
	}
	if err := xml.Unmarshal(raw, &report); err != nil {
		return nil, fmt.Errorf("the suite's report: %w", err)
	}
	return &report.Suite, nil
}

// A group is the checks of one kind of content.
type group struct {
	name          string
	passed, total int
}

func (r *results) groups() (list []*group) {
	at := map[string]*group{}
	for _, c := range r.Cases {
		parts := strings.Split(c.Name, "/")
		name := parts[min(1, len(parts)-1)]
		if at[name] == nil {
			at[name] = &group{name: name}
			list = append(list, at[name])
		}
		at[name].total++
		if c.Status == "passed" {
			at[name].passed++
		}
	}
	return list
}

// total is how the suite itself sums up.
func (r *results) total() string {
	return fmt.Sprintf("%d checks, %d failures, %d errors, %d skipped", r.Tests, r.Failures, r.Errors, r.Skipped)
}

func (r *results) bad() int { return r.Failures + r.Errors }

// replaced is the page with a section in place of the one with its title, or
// at its end.
func replaced(page, section string) string {
	title, _, _ := strings.Cut(section, "\n")
	var parts []string
	found := false
	for i, part := range strings.Split("\n"+page, "\n# ") {
		switch {
		case i == 0:
		case "# "+strings.SplitN(part, "\n", 2)[0] == title:
			parts, found = append(parts, strings.TrimSpace(section)), true
		default:
			parts = append(parts, "# "+strings.TrimSpace(part))
		}
	}
	if !found {
		parts = append(parts, strings.TrimSpace(section))
	}
	return strings.Join(parts, "\n\n") + "\n"
}

// page is the registry's part of docs/conformance.md.
func page(commit string, plain, all *results) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Conformance to the OCI distribution specification

Written by `+"`make conformance SUITE=DIR`"+`, DIR being a checkout of
https://github.com/opencontainers/distribution-spec. Its suite (folder `+"`conformance`"+`)
runs against a registry of this program on loopback, with `+"`OCI_VERSION=1.1`"+`.

- suite: %s
- as 1.1 has it: **%s**
- with what 1.1 leaves open as well (digest headers, cancelled uploads, tag parameters): **%s**

The second run by what is pushed and pulled; a check may hold several of those counted above.

| checks of | passed | of |
|---|---|---|
`, or(commit, "a checkout that is no repository"), plain.total(), all.total())
	for _, g := range all.groups() {
		fmt.Fprintf(&b, "| %s | %d | %d |\n", g.name, g.passed, g.total)
	}
	b.WriteString(rest(plain, all))
	return b.String()
}

// rest tells of the checks that did not pass. Those that the first run leaves
// out by its settings, and that pass in the second, the suite does not count as
// skipped, though it calls them so.
func rest(plain, all *results) string {
	passed := map[string]bool{}
	for _, c := range all.Cases {
		passed[c.Name] = c.Status == "passed"
	}
	var b strings.Builder
	for n, run := range []*results{plain, all} {
		for _, c := range run.Cases {
			said := or(strings.TrimSpace(strings.ReplaceAll(c.Said, "\n", " ")), "the suite says no more")
			switch {
			case c.Status == "passed":
			case c.Status == "skipped" && passed[c.Name]:
				fmt.Fprintf(&b, "- off in the first run, passed in the second: %s\n", c.Name)
			default:
				fmt.Fprintf(&b, "- %s in the %s run: %s: %.300s\n", c.Status, [...]string{"first", "second"}[n], c.Name, said)
			}
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "\n" + b.String()
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
