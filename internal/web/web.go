// Package web makes pages for people: plain HTML in one file, without scripts
// and without anything from outside, so that they can be mailed, kept and
// printed.
package web

import (
	_ "embed"
	"html/template"
	"io"
	"time"

	"holdfast/internal/wiring"
)

//go:embed proof.html
var proofPage string

var proofTemplate = template.Must(template.New("proof").Funcs(template.FuncMap{
	"when":  func(t time.Time) string { return t.Format("2 January 2006, 15:04:05 MST") },
	"class": func(verdict string) string { return classes[verdict] },
	"short": func(hex string) string { return hex[:min(16, len(hex))] },
}).Parse(proofPage))

// classes are the CSS classes of verdicts.
var classes = map[string]string{
	"good": "good", "as expected": "good", "bad": "bad", "differs": "bad",
}

// Proof writes a page about proofs that were checked.
func Proof(w io.Writer, v *wiring.Verified) error { return proofTemplate.Execute(w, v) }
