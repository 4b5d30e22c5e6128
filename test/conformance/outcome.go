package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// An outcome is what a test came to.
type outcome struct {
	Passed  bool    `json:"passed"`
	Seconds float64 `json:"seconds"`
	Said    string  `json:"said,omitempty"` // the first lines of a failure
}

// outcomes reads a report of ginkgo's (its types.Report). A test that did not
// come to its end, as time was up, has none.
func outcomes(raw []byte) (map[string]outcome, error) {
	var suites []struct {
		SpecReports []struct {
			ContainerHierarchyTexts []string
			LeafNodeType            string
			LeafNodeText            string
			State                   string
			RunTime                 int64
			Failure                 struct{ Message string }
		}
	}
	if err := json.Unmarshal(raw, &suites); err != nil {
		return nil, fmt.Errorf("ginkgo's report: %w", err)
	}
	all := map[string]outcome{}
	for _, suite := range suites {
		for _, r := range suite.SpecReports {
			name := strings.Join(append(r.ContainerHierarchyTexts, r.LeafNodeText), " ")
			switch {
			case r.LeafNodeType != "It":
				if r.State == "failed" || r.State == "panicked" {
					return nil, fmt.Errorf("%s failed: %.1000s", r.LeafNodeType, r.Failure.Message)
				}
			case r.State == "passed", r.State == "failed", r.State == "panicked":
				all[name] = outcome{Passed: r.State == "passed", Seconds: float64(r.RunTime/1e8) / 10, Said: short(r.Failure.Message)}
			}
		}
	}
	return all, nil
}

// volatile is what differs from run to run and tells nothing.
var volatile = regexp.MustCompile(`\b0x[0-9a-f]+\b|\b[0-9a-f]{8}-[0-9a-f-]{27}\b`)

// short is what fits in a line of a table.
func short(message string) string {
	line := strings.Join(strings.Fields(volatile.ReplaceAllString(message, "…")), " ")
	if len(line) > 300 {
		line = strings.ToValidUTF8(line[:300], "") + "…"
	}
	return strings.ReplaceAll(line, "|", "/")
}
