package broker

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/policy"
)

func TestPolicyHasAHistoryToGoBackIn(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	m := b.attested()
	closed := policy.Resource + "\nreasons contains \"closed today\" if input\n"
	check(t, b.admin.ChangePolicy(t.Context(), "resource", api.PolicyChange{Policy: closed, Comment: "stocktaking"}))
	status, body := m.call("GET", "/kbs/v0/resource/default/key/x", nil)
	wantProblem(t, status, body, http.StatusForbidden, kindDenied, "closed today")
	shut := policy.Resource + "\nreasons contains \"closed for good\" if input\n"
	check(t, b.admin.SetResourcePolicy(t.Context(), []byte(shut)))
	first := int64(1)
	check(t, b.admin.ChangePolicy(t.Context(), "resource", api.PolicyChange{Version: &first}))
	in, err := b.admin.Policy(t.Context(), "resource")
	if check(t, err); in.Policy != closed || in.Version != 3 || in.Engine != policy.Engine+", Rego v1" {
		t.Errorf("got version %d by %s", in.Version, in.Engine)
	}
	history, err := b.admin.PolicyHistory(t.Context(), "resource")
	if check(t, err); len(history) != 3 || history[2].Comment != "stocktaking" || history[2].Actor != "tester" || history[0].Digest != history[2].Digest {
		t.Errorf("got %+v", history)
	}
	none := int64(0)
	check(t, b.admin.ChangePolicy(t.Context(), "resource", api.PolicyChange{Version: &none}))
	if status, body := m.call("GET", "/kbs/v0/resource/default/key/x", nil); status != http.StatusOK {
		t.Errorf("as shipped: %d %s", status, body)
	}
}

func TestBadPolicyChangesAreRefused(t *testing.T) {
	b := newBench(t, nil)
	missing := int64(7)
	for name, test := range map[string]struct {
		kind   string
		change api.PolicyChange
		want   string
	}{
		"form":    {"resource", api.PolicyChange{Policy: "package policy\nallow if nothing(1)"}, "line 2, column 10: undefined function nothing"},
		"nothing": {"resource", api.PolicyChange{}, "policy resource.rego"},
		"version": {"resource", api.PolicyChange{Version: &missing}, "has no version 7"},
		"kind":    {"%2e%2e", api.PolicyChange{Policy: policy.Resource}, `policy ".." is not known`},
		"shipped": {"resource", api.PolicyChange{Version: new(int64)}, "is the one that the broker ships already"},
	} {
		if err := b.admin.ChangePolicy(t.Context(), test.kind, test.change); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func TestARollbackDoesNotBringBackAPolicyThatDoesNotCompile(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	imported := openTestState(t, b.cfg.Dir, b.cfg.Now)
	_, err := imported.SetDocument(t.Context(), api.Version{Kind: api.PolicyKind, Name: "resource", Time: b.now.Now(), Content: []byte("no policy")})
	check(t, err)
	check(t, b.admin.SetResourcePolicy(t.Context(), []byte(policy.Resource)))
	if _, err := b.admin.Rollback(t.Context(), api.Rollback{Kind: api.PolicyKind, Version: 1}); err == nil || !strings.Contains(err.Error(), "policy resource.rego") {
		t.Errorf("got %v, want a refusal that names the policy", err)
	}
	if in, err := b.admin.Policy(t.Context(), "resource"); err != nil || in.Version != 2 || in.Policy != policy.Resource {
		t.Errorf("got version %d, %v", in.Version, err)
	}
}

func TestDecisionsAreKeptWithWhatWasAsked(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	m := b.attested()
	m.call("GET", "/kbs/v0/resource/default/key/x", nil)
	m.call("GET", "/kbs/v0/resource/default/key/other", nil)
	stranger := b.machine()
	stranger.pcrs["pcr11"] = pcr("c")
	stranger.auth()
	stranger.call("POST", "/kbs/v0/attest", stranger.attestation())
	want := []struct {
		action string
		allow  bool
	}{{"attest", true}, {"get-resource", true}, {"get-resource", false}, {"attest", false}}
	var kept []api.RecordedDecision
	check(t, b.admin.EachDecision(t.Context(), 0, func(d api.RecordedDecision) (bool, error) {
		kept = append(kept, d)
		return true, nil
	}))
	if len(kept) != len(want) {
		t.Fatalf("got %d decisions, want %d", len(kept), len(want))
	}
	for i, d := range kept {
		if d.Action != want[i].action || d.Allow != want[i].allow || d.Engine == "" {
			t.Errorf("got %+v, want %+v", d, want[i])
		}
		again := askAgain(t, d)
		if again.Allow != d.Allow || !slices.Equal(again.Reasons, d.Reasons) {
			t.Errorf("asked again: got %+v, want %t %q", again, d.Allow, d.Reasons)
		}
	}
}

// askAgain puts a kept decision's question to the shipped policy of its kind.
func askAgain(t *testing.T, d api.RecordedDecision) policy.Decision {
	t.Helper()
	p, err := policy.Compile(d.Kind+".rego", shipped[d.Kind])
	check(t, err)
	var input any
	var data map[string]any
	unmarshal(t, d.Input, &input)
	unmarshal(t, d.Data, &data)
	got, err := p.Decide(t.Context(), input, data)
	check(t, err)
	return got
}

func unmarshal(t *testing.T, raw []byte, v any) {
	t.Helper()
	check(t, json.Unmarshal(raw, v))
}
