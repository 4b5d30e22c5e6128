package policy

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

func trustee(t testing.TB, name string) string {
	t.Helper()
	raw, err := os.ReadFile("testdata/trustee/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// The cases of test_kbs_policy_evaluate, deps/policy-engine/src/policy/rego.rs.
func TestTrusteeResourcePoliciesDecideAsInTrustee(t *testing.T) {
	alice := []string{"my_repo", "Alice", "key"}
	tests := []struct {
		policy, plugin string
		path           []string
		product        string
		svn            int
		want           bool
	}{
		{"policy_1", "resource", alice, "Alice", 1, true},
		{"policy_1", "another-plugin", alice, "Alice", 1, false},
		{"policy_4", "resource", alice, "Alice", 1, true},
		{"policy_1", "resource", alice, "Bob", 1, false},
		{"policy_2", "resource", alice, "Alice", 1, true},
		{"policy_3", "resource", alice, "Alice", 1, false},
		{"policy_5", "resource", []string{"myrepo", "secret", "secret"}, "n", 2, false},
		{"policy_5", "resource", []string{"myrepo", "secret", "secret1"}, "n", 1, false},
		{"policy_5", "resource", []string{"myrepo", "secret", "secret1"}, "n", 2, true},
		{"policy_5", "resource", []string{"myrepo", "secret", "secret2"}, "n", 2, false},
		{"policy_5", "resource", []string{"myrepo", "secret", "secret3"}, "n", 3, false},
		{"policy_5", "resource", []string{"a", "b", "secret2"}, "n", 3, false},
		{"policy_5", "abc", []string{}, "n", 3, false},
		{"allow_all", "resource", alice, "n", 3, true},
		{"allow_all", "abc", alice, "n", 3, false},
		{"deny_all", "resource", alice, "n", 3, false},
		{"affirming", "resource", alice, "n", 3, true},
	}
	for _, test := range tests {
		p := compile(t, trustee(t, test.policy+".rego"))
		input := map[string]any{"submods": map[string]any{"cpu0": map[string]any{
			"ear.status":                      "affirming",
			"ear.trustworthiness-vector":      map[string]any{"executables": 2, "hardware": 3},
			"ear.veraison.annotated-evidence": map[string]any{"sample": map[string]any{"productId": test.product, "svn": test.svn}},
		}}}
		data := map[string]any{"plugin": test.plugin, "resource-path": test.path, "query": map[string]string{}}
		if got, err := p.Decide(t.Context(), input, data); err != nil || got.Allow != test.want {
			t.Errorf("%s, %s %v for %s %d: got %+v, %v, want allow %t", test.policy, test.plugin, test.path, test.product, test.svn, got, err, test.want)
		}
	}
}

func values(all map[string]any) map[string]any { return map[string]any{"reference_values": all} }

// The default policy of Trustee's attestation service judges machines here,
// and what it affirms is allowed.
func TestTrusteeDefaultAttestationPolicyRunsUnchanged(t *testing.T) {
	pcr11, ak := pcr("b"), "MIIB"
	tpm := map[string]any{"tee": "tpm", "claims": map[string]any{"pcr11": pcr11, "ak_public": ak}}
	snp := map[string]any{"tee": "snp", "claims": map[string]any{"measurement": "abc", "policy_debug_allowed": false, "policy_migrate_ma": false,
		"reported_tcb_bootloader": 3, "reported_tcb_microcode": 115, "reported_tcb_snp": 8, "reported_tcb_tee": 0}}
	debugged := map[string]any{"tee": "snp", "claims": maps.Clone(snp["claims"].(map[string]any))}
	debugged["claims"].(map[string]any)["policy_debug_allowed"] = true
	snpValues := map[string]any{"snp_launch_measurement": []string{"abc"}, "snp_bootloader": []int{3}, "snp_microcode": []int{115}, "snp_snp_svn": []int{8}, "snp_tee_svn": []int{0}}
	tests := map[string]struct {
		input, values                        map[string]any
		executables, hardware, configuration int8
		allow                                bool
	}{
		"tpm":                    {tpm, map[string]any{"tpm_pcr11": []string{pcr11}, "trusted_aks": []string{ak}}, 3, 2, 0, true},
		"tpm, other key":         {tpm, map[string]any{"tpm_pcr11": []string{pcr11}, "trusted_aks": []string{"other"}}, 33, 2, 0, false},
		"tpm, nothing is known":  {tpm, nil, 33, 2, 0, false},
		"snp":                    {snp, snpValues, 3, 2, 3, true},
		"snp, debugged":          {debugged, snpValues, 3, 2, 36, false},
		"snp, nothing is known":  {snp, nil, 33, 97, 3, false},
		"a kind nobody knows":    {map[string]any{"tee": "abacus", "claims": map[string]any{"beads": 7}}, nil, 33, 97, 36, false},
		"a kind that is a value": {map[string]any{"tee": 7, "claims": map[string]any{}}, nil, 33, 97, 36, false},
	}
	p := compile(t, trustee(t, "ear_default_policy_cpu.rego"))
	for name, test := range tests {
		got, err := p.Decide(t.Context(), test.input, values(test.values))
		if err != nil || got.Allow != test.allow || got.Allow == (len(got.Reasons) > 0) {
			t.Errorf("%s: got %v %q (%v), want allow %t", name, got.Allow, got.Reasons, err, test.allow)
		}
		for claim, want := range map[string]int8{"executables": test.executables, "hardware": test.hardware, "configuration": test.configuration} {
			if got.Trust[claim] != want {
				t.Errorf("%s: %s is %d, want %d", name, claim, got.Trust[claim], want)
			}
		}
		if len(got.Extensions) != 1 || got.Extensions[0].Name != "ear.trustee.identifiers" || got.Extensions[0].Key != -18 {
			t.Errorf("%s: got extensions %v, want ear.trustee.identifiers", name, got.Extensions)
		}
	}
}

func TestAllOfTrusteesPoliciesCompile(t *testing.T) {
	entries, err := os.ReadDir("testdata/trustee")
	if err != nil {
		t.Fatal(err)
	}
	compiled := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".rego") {
			continue
		}
		compiled++
		if _, err := Compile(e.Name(), trustee(t, e.Name())); err != nil {
			// Its one rule is executables: Trustee finds no trust_claims in it
			// either, and refuses.
			if strings.HasPrefix(e.Name(), "example-") && strings.Contains(err.Error(), "no rule allow") {
				continue
			}
			t.Error(err)
		}
	}
	if compiled < 10 {
		t.Errorf("got %d policies, want those of testdata/trustee", compiled)
	}
}

func TestOlderRegoIsReadWhereItIsMarked(t *testing.T) {
	old := "package policy\n\ndefault allow = false\n\nallow {\n\tinput.tee == \"tpm\"\n}\n\nreasons[\"no TPM\"] {\n\tinput.tee != \"tpm\"\n}\n"
	if _, err := Compile("old.rego", old); err == nil {
		t.Error("v0 without its mark compiled")
	}
	p := compile(t, "# Written long ago.\n# rego_version: 0\n"+old)
	for tee, reasons := range map[string][]string{"tpm": nil, "snp": {"no TPM"}} {
		got, err := p.Decide(t.Context(), map[string]any{"tee": tee}, nil)
		if err != nil || !slices.Equal(got.Reasons, reasons) || got.Allow != (reasons == nil) {
			t.Errorf("%s: got %+v, %v, want reasons %q", tee, got, err, reasons)
		}
	}
	if got := p.Languages(); got != Engine+", Rego v0" {
		t.Errorf("got %q", got)
	}
	if _, err := Compile("late.rego", "package policy\n# rego_version: 0\nallow { true }"); err == nil {
		t.Error("a mark behind the package was heeded")
	}
}

func TestModulesOfBothLanguagesMeetInOnePolicy(t *testing.T) {
	text := Join([]Module{
		{"one.rego", "package policy\n\nallow if all_good"},
		{"two.rego", "# rego_version: 0\npackage policy\n\nall_good { input.x == 1 }"},
	})
	p := compile(t, text)
	if got, err := p.Decide(t.Context(), map[string]any{"x": 1}, nil); err != nil || !got.Allow {
		t.Errorf("got %+v, %v, want allowed", got, err)
	}
	if got := p.Languages(); got != Engine+", Rego v1 and v0" {
		t.Errorf("got %q", got)
	}
	_, err := Compile("both.rego", strings.Replace(text, "input.x == 1", "nothing(1)", 1))
	if err == nil || err.Error() != "policy both.rego: line 9, column 12: undefined function nothing" {
		t.Errorf("got %v, want the line of the whole text", err)
	}
}
