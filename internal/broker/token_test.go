package broker

import (
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	veraison "github.com/veraison/ear"

	"holdfast/internal/api"
	"holdfast/internal/attest/ear"
	"holdfast/internal/attest/initdata"
)

func sampleResult(t *testing.T) ear.Result {
	_, jwk := ecJWK(t, elliptic.P256(), "P-256")
	return ear.Result{
		Session: "0123", TEE: "tpm",
		Trust:    map[string]int8{"hardware": 2, "executables": 3, "configuration": 2},
		Claims:   map[string]any{"pcr11": pcr("b"), "init_data": "08", "report_data": "09"},
		InitData: &initdata.Document{Digest: initDataDigest, Data: map[string]string{"a": "b"}},
		Runtime:  api.RuntimeData{Nonce: "n", TEEPubKey: jwk},
	}
}

// TestVeraisonReadsOurTokens checks against the reference implementation of EAR.
func TestVeraisonReadsOurTokens(t *testing.T) {
	key := newKey(t)
	m := &tokenMaker{keys: fixed(TokenKey{Signer: key}), issuer: "holdfast", life: time.Minute, now: time.Now}
	token, err := m.issue(sampleResult(t))
	check(t, err)
	var got veraison.AttestationResult
	if err := got.Verify([]byte(token), jwa.ES256(), &key.PublicKey); err != nil {
		t.Fatal(err)
	}
	cpu := got.Submods["cpu0"]
	if *got.Profile != veraison.EatTrusteeProfile || *cpu.Status != veraison.TrustTierAffirming || cpu.TrustVector.Executables != 3 || *cpu.AppraisalPolicyID != "default" {
		t.Fatalf("got %+v", got)
	}
	evidence := *cpu.VeraisonAnnotatedEvidence
	device, _ := evidence["tpm"].(map[string]any)
	if evidence["init_data"] != "08" || evidence["report_data"] != "09" || device["pcr11"] != pcr("b") || evidence["init_data_digest"] != initDataDigest {
		t.Fatalf("got evidence %+v", evidence)
	}
	if _, err := m.verify(token); err != nil {
		t.Fatal(err)
	}
}

// TestTokenHasTrusteesMembers compares with example.token.json of Trustee
// (attestation-service/docs): a reader of those finds the same names.
func TestTokenHasTrusteesMembers(t *testing.T) {
	m := &tokenMaker{keys: fixed(TokenKey{Signer: newKey(t)}), issuer: "holdfast", life: time.Minute, now: time.Now}
	token, err := m.issue(sampleResult(t))
	check(t, err)
	v, err := m.verify(token)
	check(t, err)
	for _, name := range []string{"eat_profile", "iat", "exp", "iss", "ear.verifier-id", "submods"} {
		if v.claims[name] == nil {
			t.Errorf("the token has no %s", name)
		}
	}
	cpu := v.claims["submods"].(map[string]any)["cpu0"].(map[string]any)
	evidence := cpu[ear.Evidence].(map[string]any)
	for _, name := range []string{"init_data", "init_data_claims", "report_data", "runtime_data_claims"} {
		if evidence[name] == nil {
			t.Errorf("the evidence has no %s", name)
		}
	}
	if vector := cpu["ear.trustworthiness-vector"].(map[string]any); len(vector) != 8 {
		t.Errorf("got vector %v, want all eight claims", vector)
	}
	head, _, _ := strings.Cut(token, ".")
	var header struct {
		Alg, Typ string
		JWK      map[string]string
	}
	raw, err := base64.RawURLEncoding.DecodeString(head)
	check(t, err)
	check(t, json.Unmarshal(raw, &header))
	if header.Alg != "ES256" || header.Typ != "JWT" || header.JWK["crv"] != "P-256" || header.JWK["d"] != "" {
		t.Errorf("got header %s", raw)
	}
}

// issue is issueBy with the key that signs now, as text.
func (m *tokenMaker) issue(r ear.Result) (string, error) {
	key, err := m.key()
	if err != nil {
		return "", err
	}
	token, err := m.issueBy(newDesk(), key, r)
	return string(token.text), err
}
