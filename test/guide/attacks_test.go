package guide

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"holdfast/internal/attack"
)

// asked are the attacks that the broker has to deny; each begins a row.
var asked = []string{
	"replay", "wrong nonce", "quote over another key", "self-made attestation key", "attestation key of another TPM", "endorsement by an unknown root",
	"certificate out of its time", "revoked certificate", "wrong bank", "PCRs right, log altered", "old firmware", "debugged machine", "init-data swapped",
	"token of another broker", "token expired", "`alg: none`", "key confusion", "embedded key", "resource path tricks", "policy that errors", "policy injection",
	"administrator's token again", "oversized", "malformed", "a million sessions", "a full disk", "kill -9",
}

// askedOfPods are the attacks that a confidential pod has to refuse.
var askedOfPods = []string{
	"exec", "copy files in", "change mounts", "set environment", "swap the image", "replay an old configuration", "read logs that policy hides",
	"resize", "attach a disk", "a second container with the same name", "a volume whose path climbs out",
}

func TestEveryAttackOnTheBrokerHasItsReasonAndTests(t *testing.T) {
	checkAttacks(t, 6, asked)
}

func TestEveryAttackOfANodeHasItsReasonAndTests(t *testing.T) {
	checkAttacks(t, 7, askedOfPods)
}

// checkAttacks looks at the rows that have so many cells, their edges included; the last but one
// has the tests.
func checkAttacks(t *testing.T, width int, asked []string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "docs", "attacks.md"))
	if err != nil {
		t.Fatal(err)
	}
	attacks, begun := map[string]attack.Attack{}, map[string]bool{}
	for _, a := range attack.All() {
		attacks[a.Name] = a
	}
	tests, program := testSources(t), programSources(t)
	for line := range strings.Lines(string(raw)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != width || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| attack") {
			continue
		}
		for i, c := range cells {
			cells[i] = strings.TrimSpace(c)
		}
		begun[cells[1]] = true
		if reason := cells[3]; reason == "" || !strings.Contains(program, reason) {
			t.Errorf("%s %s: nothing says %q", cells[1], cells[2], reason)
		}
		wanted, tried := false, cells[width-2]
		for name := range strings.SplitSeq(tried, ",") {
			name = strings.Trim(name, " `")
			a, isAttack := attacks[name]
			if !isAttack && !strings.Contains(tests, "func "+name+"(t ") {
				t.Errorf("%s %s: there is no test or attack %q", cells[1], cells[2], name)
			}
			wanted = wanted || isAttack && within(cells[3], a.Want.Reason) || asksFor(tests, program, name, cells[3])
		}
		if !wanted {
			t.Errorf("%s %s: none of %s asks for %q", cells[1], cells[2], tried, cells[3])
		}
	}
	for _, name := range asked {
		if !begun[name] {
			t.Errorf("docs/attacks.md does not tell of %s", name)
		}
	}
}

var (
	verbs     = regexp.MustCompile(`%[.0-9]*[a-z]`)
	sentinels = regexp.MustCompile(`(Err\w+)\s*=\s*errors\.New\("([^"]*)"\)`)
)

// within says whether text has a part of reason that stands between its verbs.
func within(reason, text string) bool {
	for _, part := range verbs.Split(reason, -1) {
		if part = strings.TrimSpace(part); len(part) > 4 && strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// asksFor looks into each test of this name for the reason, or for the error
// that has it.
func asksFor(tests, program, name, reason string) bool {
	for rest := tests; ; {
		_, after, found := strings.Cut(rest, "func "+name+"(t ")
		if !found {
			return false
		}
		body, _, _ := strings.Cut(after, "\n}\n")
		if within(reason, body) {
			return true
		}
		for _, m := range sentinels.FindAllStringSubmatch(program, -1) {
			if strings.Contains(m[2], reason) && strings.Contains(body, m[1]) {
				return true
			}
		}
		rest = after
	}
}

// programSources is what the program itself is made of.
func programSources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(filepath.Join(root, "internal"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || strings.HasSuffix(path, "_test.go") || !strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, ".rego") {
			return err
		}
		raw, err := os.ReadFile(path)
		all.Write(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
