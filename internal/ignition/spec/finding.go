package spec

import (
	"fmt"
	"slices"
	"strings"
)

// Severities of a finding.
const (
	severityError   = "error"
	severityWarning = "warning"
	severityInfo    = "info"
)

// A Finding is one thing that is wrong, or odd, in a config. It never holds a
// value of the config.
type Finding struct {
	Severity string `json:"severity"` // error, warning or info
	File     string `json:"file"`
	Line     int64  `json:"line,omitempty"` // from 1; 0 for what was merged and so stands in no file
	Column   int64  `json:"column,omitempty"`
	Path     string `json:"path"` // RFC 9535, as $.storage.files[0].path
	Problem  string `json:"problem"`
	Want     string `json:"want,omitempty"` // what was expected there
}

// String is FILE:LINE:COLUMN: PATH: problem, want what.
func (f Finding) String() string {
	s := f.File
	if f.Line > 0 {
		s += fmt.Sprintf(":%d:%d", f.Line, f.Column)
	}
	if f.Path != "" && f.Path != "$" {
		s += ": " + f.Path
	}
	s += ": " + f.Problem
	if f.Want != "" {
		s += ", want " + f.Want
	}
	return s
}

// An InvalidError is a config that is refused, with all that is wrong in it.
type InvalidError struct{ Findings []Finding }

// Error tells the first error, and how many there are besides.
func (e *InvalidError) Error() string {
	errs := slices.DeleteFunc(slices.Clone(e.Findings), func(f Finding) bool { return f.Severity != severityError })
	switch len(errs) {
	case 0:
		return "the config is not valid"
	case 1:
		return errs[0].String()
	}
	return fmt.Sprintf("%s (and %d more errors)", errs[0], len(errs)-1)
}

func invalid(name, problem, want string) *InvalidError {
	return &InvalidError{[]Finding{{Severity: severityError, File: name, Path: "$", Problem: problem, Want: want}}}
}

func hasErrors(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.Severity == severityError })
}

// jsonPath writes the elements of a path as RFC 9535 does.
func jsonPath(elements []any) string {
	var b strings.Builder
	b.WriteByte('$')
	for _, e := range elements {
		switch e := e.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", e)
		default:
			name := fmt.Sprint(e)
			if isName(name) {
				b.WriteString("." + name)
			} else {
				fmt.Fprintf(&b, "[%.60q]", name)
			}
		}
	}
	return b.String()
}

func isName(s string) bool {
	return s != "" && len(s) <= 60 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}
