package broker

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/api"
)

// What was allowed before is refused once the rules say so.
func TestResourcePolicyHoldsAtEachRequest(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	m := b.machine()
	m.auth()
	m.attest()
	status, body := m.call("GET", "/kbs/v0/resource/default/key/other", nil)
	wantProblem(t, status, body, http.StatusForbidden, kindDenied, "configuration "+initDataDigest+" may not have resource default/key/other"+
		" (to allow it: holdfast broker allow "+initDataDigest+" --resource default/key/absent --resource default/key/x --resource default/key/other)")
	if e := b.lastEntry(); e.Decision != api.AuditRefuse || e.Value != "" || !slices.Equal(e.Reasons, []string{"configuration " + initDataDigest + " may not have resource default/key/other"}) {
		t.Fatalf("got audit entry %+v", e)
	}
	status, body = m.call("GET", "/kbs/v0/resource/default/key/absent", nil)
	wantProblem(t, status, body, http.StatusNotFound, kindInternal, "resource not found: default/key/absent")
	for _, path := range []string{"default/key/..%2f..%2faudit.key", "default/key/%00", "default/.key/x", "default/key%2fx/y", "..%2f/b/c"} {
		status, body = m.call("GET", "/kbs/v0/resource/"+path, nil)
		wantProblem(t, status, body, http.StatusNotFound, kindPath, "resource")
	}
	m.fetch()
	m.fetch() // which nobody is asked again
	check(t, b.admin.SetResourcePolicy(t.Context(), []byte("package policy\n\ndefault allow := false\n")))
	status, body = m.call("GET", "/kbs/v0/resource/default/key/x", nil)
	wantProblem(t, status, body, http.StatusForbidden, kindDenied, "policy resource.rego does not allow it")
	if strings.Contains(string(body), "to allow it") {
		t.Errorf("%s: to allow again what is allowed changes nothing", body)
	}
	check(t, b.admin.ChangePolicy(t.Context(), "resource", api.PolicyChange{Version: new(int64)}))
	m.fetch()
	check(t, b.admin.Withdraw(t.Context(), initDataDigest))
	status, body = m.call("GET", "/kbs/v0/resource/default/key/x", nil)
	wantProblem(t, status, body, http.StatusForbidden, kindDenied, "is not authorised any more")
}

func TestBrokenPolicyDenies(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	check(t, b.set(t.Context(), api.Version{Kind: api.PolicyKind, Name: attestationPolicy, Content: []byte("package policy\n\nallow if\n")}))
	m := b.machine()
	m.auth()
	status, body := m.call("POST", "/kbs/v0/attest", m.attestation())
	wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, "policy attestation.rego: line")
}

func TestChangedReferenceTrustsNothing(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	envelopes, _, err := b.state.Documents(t.Context(), api.ReferenceKind)
	if err != nil || len(envelopes) != 1 {
		t.Fatalf("got %v, %v, want one", envelopes, err)
	}
	values := guestValues
	values.PCRs = map[string]string{"11": pcr("c")}
	raw, err := json.Marshal(values)
	check(t, err)
	check(t, b.set(t.Context(), api.Version{Kind: api.ReferenceKind, Name: envelopes[0].Name, Content: raw}))
	m := b.machine()
	m.pcrs["pcr11"] = pcr("c")
	m.auth()
	status, body := m.call("POST", "/kbs/v0/attest", m.attestation())
	wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, "no image is trusted at this broker yet")
}
