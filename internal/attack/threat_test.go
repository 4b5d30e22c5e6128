package attack

import (
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// The threat model's table says for each claim which attacks show it.
func TestTheThreatModelNamesEveryAttackAndNoOther(t *testing.T) {
	raw, err := os.ReadFile("../../docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	patterns := map[string]int{}
	quoted := regexp.MustCompile("`([a-z0-9*]*(?:-[a-z0-9*]+)+)`")
	for line := range strings.Lines(string(raw)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 { // four columns between six bars and ends
			continue
		}
		for _, m := range quoted.FindAllStringSubmatch(cells[4], -1) {
			patterns[m[1]] = 0
		}
	}
	for _, a := range All() {
		named := false
		for pattern := range patterns {
			if ok, err := path.Match(pattern, a.Name); err != nil {
				t.Fatalf("%s: %v", pattern, err)
			} else if ok {
				patterns[pattern]++
				named = true
			}
		}
		if !named {
			t.Errorf("docs/threat-model.md does not say what %s shows (%s)", a.Name, a.Promise)
		}
	}
	for pattern, n := range patterns {
		if n == 0 {
			t.Errorf("docs/threat-model.md names %s, which is no attack", pattern)
		}
	}
}
