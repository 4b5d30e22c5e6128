package broker

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"holdfast/internal/api"
)

func TestResourcePolicyIsAskedEachTime(t *testing.T) {
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
	check(t, b.admin.Withdraw(t.Context(), initDataDigest))
	status, body = m.call("GET", "/kbs/v0/resource/default/key/x", nil)
	wantProblem(t, status, body, http.StatusForbidden, kindDenied, "is not authorised any more")
}

func TestBrokenPolicyFileDenies(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	check(t, os.WriteFile(filepath.Join(b.cfg.Dir, "policies", "attestation.rego"), []byte("package policy\n\nallow if\n"), 0o600))
	m := b.machine()
	m.auth()
	status, body := m.call("POST", "/kbs/v0/attest", m.attestation())
	wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, "policy attestation.rego: line")
}

func TestChangedReferenceFileTrustsNothing(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	files, err := filepath.Glob(filepath.Join(b.cfg.Dir, "references", "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("got %v, %v, want one file", files, err)
	}
	values := guestValues
	values.PCRs = map[string]string{"11": pcr("c")}
	raw, err := json.Marshal(values)
	check(t, err)
	check(t, os.WriteFile(files[0], raw, 0o600))
	m := b.machine()
	m.pcrs["pcr11"] = pcr("c")
	m.auth()
	status, body := m.call("POST", "/kbs/v0/attest", m.attestation())
	wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, "no image is trusted at this broker yet")
}
