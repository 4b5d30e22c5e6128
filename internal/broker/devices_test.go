package broker

import (
	"encoding/json"
	"net/http"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/attest"
)

// A fakeGPU is another device of the same make-believe.
type fakeGPU struct{ fakeVerifier }

func (fakeGPU) TEE() string   { return "nvidia" }
func (fakeGPU) Class() string { return "gpu" }

const gpuPolicy = `package policy
import rego.v1
default allow := false
allow if input.claims.pcr00 == "good"
reasons contains "the graphics processor is not a good one" if not allow
trust_claims := {"hardware": 2}`

// composite adds devices' evidence to a machine's, as guest-components' client
// does (get_composite_evidence).
func (m *machine) composite(state string, kinds ...string) api.KBSAttestation {
	m.b.t.Helper()
	a := m.attestation()
	devices := map[string]any{}
	digest, err := attest.DeviceDigest(a.RuntimeData)
	check(m.b.t, err)
	for _, kind := range kinds {
		devices[kind] = fakeEvidence{Digest: digest, PCRs: map[string]string{"pcr00": state}}
	}
	raw, err := json.Marshal(devices)
	check(m.b.t, err)
	a.TEEEvidence.Additional = string(raw)
	digest, err = attest.RuntimeDigest(a.RuntimeData, a.TEEEvidence.Additional)
	check(m.b.t, err)
	a.TEEEvidence.Primary, err = json.Marshal(fakeEvidence{Digest: digest, PCRs: m.pcrs})
	check(m.b.t, err)
	return a
}

func TestEachDeviceIsJudgedByThePolicyOfItsClass(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Verifiers = append(c.Verifiers, fakeGPU{}) })
	b.furnish()
	try := func(state string, kinds ...string) (int, []byte, *machine) {
		m := b.machine()
		m.auth()
		status, body := m.call("POST", "/kbs/v0/attest", m.composite(state, kinds...))
		return status, body, m
	}
	status, body, _ := try("good", "nvidia")
	wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, `additional device "nvidia": no policy is set for devices of class gpu`)
	m := b.machine()
	m.token = b.adminToken()
	raw, err := json.Marshal(map[string]string{"type": "rego", "policy_id": "default_gpu", "policy": base64url([]byte(gpuPolicy))})
	check(t, err)
	if status, body := m.call("POST", "/kbs/v0/attestation-policy", raw); status != http.StatusOK {
		t.Fatalf("set the policy: %d %s", status, body)
	}
	status, body, _ = try("bad", "nvidia")
	wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, `additional device "nvidia": the graphics processor is not a good one`)
	status, body, _ = try("good", "nvidia", "se")
	wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, `additional device "se": its kind is not supported by this broker`)
	status, body, m = try("good", "nvidia")
	if status != http.StatusOK {
		t.Fatalf("got %d %s", status, body)
	}
	var token api.KBSToken
	check(t, json.Unmarshal(body, &token))
	v, err := b.tokens.verify(token.Token)
	check(t, err)
	submods := v.claims["submods"].(map[string]any)
	gpu := submods["gpu0"].(map[string]any)
	if len(submods) != 2 || gpu["ear.status"] != "affirming" {
		t.Errorf("got %v", submods)
	}
	if status, body := m.call("GET", "/kbs/v0/resource/default/key/x", nil); status != http.StatusOK {
		t.Errorf("got %d %s", status, body)
	}
}

func TestEvidenceOfADeviceIsForThisHandshake(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Verifiers = append(c.Verifiers, fakeGPU{}) })
	b.furnish()
	other, m := b.machine(), b.machine()
	other.auth()
	m.auth()
	foreign := other.composite("good", "nvidia").TEEEvidence.Additional
	a := m.composite("good")
	a.TEEEvidence.Additional = foreign
	digest, err := attest.RuntimeDigest(a.RuntimeData, foreign)
	check(t, err)
	a.TEEEvidence.Primary, err = json.Marshal(fakeEvidence{Digest: digest, PCRs: m.pcrs})
	check(t, err)
	status, body := m.call("POST", "/kbs/v0/attest", a)
	wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, `additional device "nvidia": evidence is not for this handshake`)
}
