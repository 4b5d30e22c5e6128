package wiring

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/policy"
)

// asIn is a decision that a real machine was given, as a broker keeps it.
func asIn(t *testing.T, kind string) api.RecordedDecision {
	t.Helper()
	q, err := ReadQuestion("../proof/testdata/boot/proof.json", kind)
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := json.Unmarshal(q.Data, &values); err != nil {
		t.Fatal(err)
	}
	addImages(values)
	raw, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	return api.RecordedDecision{ID: 1, Kind: kind, Action: "attest", Input: q.Input, Data: raw, Allow: true}
}

const recordedReference = "sha256:f04881d8bf5ffbb2a71328adb12e854136b28f021fbcddf95066ee7c8e8592b7"

func TestWhatIfTellsWhatWouldBeAnother(t *testing.T) {
	d := asIn(t, "attestation")
	stricter := policy.Attestation + "\nreasons contains \"closed today\" if input\n"
	tests := map[string]struct {
		source string
		change WhatIf
		want   string // in the reasons; empty: nothing would change
	}{
		"the same policy":    {policy.Attestation, WhatIf{}, ""},
		"another policy":     {stricter, WhatIf{}, "closed today"},
		"a policy that errs": {"package policy\nallow if 1 / input.none == 1\nallow if to_number(input.tee) == 1", WhatIf{}, "to_number"},
		"distrust":           {policy.Attestation, WhatIf{Distrust: []string{recordedReference}}, "no image is trusted"},
		"another image":      {policy.Attestation, WhatIf{Distrust: []string{"sha256:aa"}}, ""},
		"withdraw":           {policy.Attestation, WhatIf{Withdraw: []string{"sha256:c298c81c9089a5b599ecea91743aae03d5c3f6ed99dc261cd58bbefaaa165e65"}}, "is not authorised"},
	}
	for name, test := range tests {
		p, err := policy.Compile("p.rego", test.source)
		if err != nil {
			t.Fatal(err)
		}
		got, err := test.change.again(t.Context(), p, d)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if test.want == "" {
			if got != nil {
				t.Errorf("%s: got %+v, want no change", name, got)
			}
			continue
		}
		if got == nil || got.Then || !got.Allow || !slices.ContainsFunc(got.Why, func(why string) bool { return strings.Contains(why, test.want) }) {
			t.Errorf("%s: got %+v, want it refused: %s", name, got, test.want)
		}
	}
}

func TestDifferenceOfLines(t *testing.T) {
	before := "1\n2\n3\n4\n5\n6\n7\n8\n9\n"
	got := LineDiff(before, "1\n2\n3\n4\n5\n6\nseven\n8\n9\n10\n")
	want := []string{"…", " 4", " 5", " 6", "-7", "+seven", " 8", " 9", "+10"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAQuestionIsReadInEachForm(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"question.json": `{"input":{"tee":"tpm"},"data":{"x":1}}`, "input.json": `{"tee":"tpm"}`} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		q, err := ReadQuestion(dir+"/"+name, "attestation")
		if err != nil || string(q.Input) != `{"tee":"tpm"}` {
			t.Errorf("%s: got %s, %v", name, q.Input, err)
		}
	}
	if err := os.WriteFile(dir+"/bad.json", []byte("tee: tpm"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadQuestion(dir+"/bad.json", "attestation"); err == nil || !strings.Contains(err.Error(), "it is no JSON") {
		t.Errorf("got %v", err)
	}
}
