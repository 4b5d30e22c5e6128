package broker

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/attest"
)

// A listedTPM shows a key that it has not activated.
type listedTPM struct{ fakeVerifier }

func (l listedTPM) Begin(api.RequestParams) (attest.Session, error) { return l, nil }

func (l listedTPM) Verify(raw json.RawMessage, bound attest.Binding) (attest.Claims, error) {
	claims, err := l.fakeVerifier.Verify(raw, bound)
	if err == nil {
		delete(claims, "ek_certificate")
		claims["ak_public"], claims["activated"] = "MIIB", false
	}
	return claims, err
}

func TestPolicyKnowsTheListedAttestationKeys(t *testing.T) {
	listed := &AttestationKeys{}
	b := newBench(t, func(c *Config) {
		c.Verifiers, c.AttestationKeys = []attest.Verifier{listedTPM{}}, func() *AttestationKeys { return listed }
	})
	b.furnish()
	check(t, b.admin.SetAttestationPolicy(t.Context(), []byte(`package policy
import rego.v1
default allow := false
allow if startswith(data.attestation_keys[input.claims.ak_public], "rack1-")
reasons contains "no machine of rack 1" if not allow
trust_claims := {"hardware": 2}`)))
	try := func(want int) {
		t.Helper()
		m := b.machine()
		m.auth()
		if status, body := m.call("POST", "/kbs/v0/attest", m.attestation()); status != want {
			t.Errorf("got %d %s, want %d", status, body, want)
		}
	}
	try(http.StatusUnauthorized)
	listed = &AttestationKeys{map[string]string{"MIIB": "rack1-node7", "MIIC": "rack2-node1"}}
	try(http.StatusOK)
	rules, err := b.rules(t.Context())
	check(t, err)
	raw, err := rules.only(map[string]any{"tpm": map[string]any{"ak_public": "MIIB"}}, "").data.MarshalJSON()
	check(t, err)
	var told struct {
		Keys map[string]string `json:"attestation_keys"`
	}
	check(t, json.Unmarshal(raw, &told))
	if got := slices.Sorted(maps.Keys(told.Keys)); !slices.Equal(got, []string{"MIIB"}) {
		t.Errorf("a proof would tell of %q, want the machine's own key alone", got)
	}
	listed = &AttestationKeys{map[string]string{"MIIB": "rack2-node1"}}
	try(http.StatusUnauthorized)
}
