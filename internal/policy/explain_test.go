package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func explain(t *testing.T, source string, input any, data map[string]any) Explanation {
	t.Helper()
	d, err := NewData(data)
	if err != nil {
		t.Fatal(err)
	}
	e, err := compile(t, source).Explain(t.Context(), input, d)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// story tells steps in a line each.
func story(steps []Step) []string {
	var all []string
	for _, s := range steps {
		line := fmt.Sprintf("%s%s %t: %s", strings.Repeat("  ", s.Depth), s.Rule, s.Holds, s.Text)
		for _, v := range s.Values {
			value := "absent"
			if v.Value != nil {
				value = fmt.Sprintf("%.5s", *v.Value)
			}
			line += fmt.Sprintf(" [%.40s = %s]", v.Name, value)
		}
		all = append(all, line)
	}
	return all
}

func TestRefusalIsExplainedDownToTheLineThatDecided(t *testing.T) {
	data := trusted(boot(true, pcr("4"), pcr("7")))
	tests := map[string]struct {
		edit func(claims, initData map[string]any)
		want []string
		said string
	}{
		"a PCR": {func(c, _ map[string]any) { c["pcr12"] = pcr("c") }, []string{
			"allow false: granted",
			`  granted false: trusted[input.tee] [input.tee = "tpm"]`,
			"    trusted false: untouched(12)",
			`      untouched false: untouched(12) if input.claims.pcr12 == zero [input.claims.pcr12 = "cccc]`,
		}, `explanations contains sprintf("PCR 12 is`},
		"an image": {func(c, _ map[string]any) { c["pcr11"] = pcr("c") }, []string{
			"allow false: granted",
			`  granted false: trusted[input.tee] [input.tee = "tpm"]`,
			`    trusted false: data.images[input.claims.pcr11].status == "trusted" [data.images.cccccccccccccccccccccccccccc = absent] [input.claims.pcr11 = "cccc]`,
		}, `explanations contains sprintf("PCR 11 is`},
		"firmware": {func(c, _ map[string]any) { delete(c, "pcr04") }, []string{
			"allow false: granted",
			`  granted false: trusted[input.tee] [input.tee = "tpm"]`,
			"    trusted false: some matched in boots",
			`      boots false: input.claims.pcr04 == boot.pcrs["4"] [boot.pcrs["4"] = "4444] [input.claims.pcr04 = absent]`,
		}, `explanations contains sprintf("PCR %d is`},
	}
	for name, test := range tests {
		e := explain(t, Attestation, machine(test.edit), data)
		if got := story(e.Steps); e.Allow || !slices.Equal(got, test.want) {
			t.Errorf("%s:\n got %s\nwant %s", name, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
		if len(e.Said) != 1 || !strings.HasPrefix(e.Said[0].Text, test.said) || e.Said[0].Reason != e.Reasons[0] {
			t.Errorf("%s: got %+v, want the line %s", name, e.Said, test.said)
		}
		for _, s := range e.Steps {
			if text := strings.Split(Attestation, "\n")[s.Row-1]; strings.TrimSpace(text) != s.Text {
				t.Errorf("%s: line %d is %q, step says %q", name, s.Row, text, s.Text)
			}
		}
	}
}

func TestPermissionIsExplainedByTheRulesThatHeld(t *testing.T) {
	e := explain(t, Attestation, machine(nil), trusted(boot(true, pcr("4"), pcr("7"))))
	if !e.Allow || e.Engine != Engine+", Rego v1" {
		t.Fatalf("got %+v", e)
	}
	rules := map[string]int{}
	for _, s := range e.Steps {
		rules[s.Rule]++
		if !s.Holds {
			t.Errorf("got %+v among the lines of what was allowed", s)
		}
	}
	for rule, want := range map[string]int{"allow": 1, "granted": 1, "trusted": 1, "boots": 1, "untouched": 2} {
		if rules[rule] != want {
			t.Errorf("rule %s stands there %d times, want %d: %v", rule, rules[rule], want, story(e.Steps))
		}
	}
}

func TestTrusteesPolicyIsExplainedByItsClaims(t *testing.T) {
	input := map[string]any{"tee": "tpm", "claims": map[string]any{"pcr11": "aa", "ak_public": "k"}}
	e := explain(t, trustee(t, "ear_default_policy_cpu.rego"), input, values(map[string]any{"tpm_pcr11": []string{"aa"}}))
	got := strings.Join(story(e.Steps), "\n")
	if e.Allow || !strings.Contains(got, `executables false: input.tpm.ak_public in query_reference_value("trusted_aks") [input.tpm.ak_public = "k"]`) {
		t.Errorf("got %t\n%s", e.Allow, got)
	}
}

const unitTests = `package policy_test

import data.policy

test_nobody if not policy.allow with input as {}

test_wrong if policy.allow with input as {}

todo_test_later if false
`

func TestAPolicysOwnTestsRunWithCoverage(t *testing.T) {
	source := []Module{{"p.rego", "package policy\n\nallow if {\n\tinput.x == 1\n\tinput.y == query_reference_value(\"y\")\n}"}}
	got, coverage, err := UnitTests(t.Context(), source, []Module{{"p_test.rego", unitTests}})
	if err != nil || len(got) != 3 {
		t.Fatalf("got %+v, %v, want three tests", got, err)
	}
	want := []UnitTest{
		{Name: "policy_test.test_nobody", File: "p_test.rego", Row: 5, Pass: true},
		{Name: "policy_test.test_wrong", File: "p_test.rego", Row: 7, Failure: "it does not hold"},
		{Name: "policy_test.todo_test_later", File: "p_test.rego", Row: 9, Skipped: true},
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got  %+v\nwant %+v", got[i], want[i])
		}
	}
	if coverage.Percent <= 0 || coverage.Percent >= 100 || !slices.Contains(coverage.Missed["p.rego"], 5) {
		t.Errorf("got %+v, want line 5 missed", coverage)
	}
	if _, _, err := UnitTests(t.Context(), source, []Module{{"bad_test.rego", "package x\n\ntest_a if"}}); err == nil || !strings.Contains(err.Error(), "bad_test.rego: line 3") {
		t.Errorf("got %v, want the line of the test", err)
	}
}
