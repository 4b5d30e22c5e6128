package broker

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/snp/verify"
	"holdfast/internal/proof"
)

// A fakeGPU is another device of the same make-believe.
type fakeGPU struct{ fakeVerifier }

func (fakeGPU) TEE() string   { return "nvidia" }
func (fakeGPU) Class() string { return "gpu" }

func (fakeGPU) Begin(api.RequestParams) (attest.Session, error) { return fakeVerifier{}, nil }

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
	a.TEEEvidence.Additional = m.devices(a.RuntimeData, state, kinds...)
	digest, err := attest.RuntimeDigest(a.RuntimeData, a.TEEEvidence.Additional)
	check(m.b.t, err)
	a.TEEEvidence.Primary, err = json.Marshal(fakeEvidence{Digest: digest, PCRs: m.pcrs})
	check(m.b.t, err)
	return a
}

// judgeGPUs sets the policy of that class.
func (b *bench) judgeGPUs(source string) {
	b.t.Helper()
	m := b.machine()
	m.token = b.adminToken()
	raw, err := json.Marshal(map[string]string{"type": "rego", "policy_id": "default_gpu", "policy": base64url([]byte(source))})
	check(b.t, err)
	if status, body := m.call("POST", "/kbs/v0/attestation-policy", raw); status != http.StatusOK {
		b.t.Fatalf("set the policy: %d %s", status, body)
	}
}

func (m *machine) devices(data api.RuntimeData, state string, kinds ...string) string {
	m.b.t.Helper()
	digest, err := attest.DeviceDigest(data)
	check(m.b.t, err)
	devices := map[string]any{}
	for _, kind := range kinds {
		devices[kind] = fakeEvidence{Digest: digest, PCRs: map[string]string{"pcr00": state}}
	}
	raw, err := json.Marshal(devices)
	check(m.b.t, err)
	return string(raw)
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
	b.judgeGPUs(gpuPolicy)
	status, body, _ = try("bad", "nvidia")
	wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, `additional device "nvidia": the graphics processor is not a good one`)
	status, body, _ = try("good", "nvidia", "se")
	wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, `additional device "se": its kind is not supported by this broker`)
	status, body, m := try("good", "nvidia")
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

// A slowGPU takes so long to verify that an administrator changes the rules.
type slowGPU struct {
	fakeGPU
	meanwhile func()
}

func (g *slowGPU) Begin(api.RequestParams) (attest.Session, error) { return g, nil }

func (g *slowGPU) Verify(evidence json.RawMessage, bound attest.Binding) (attest.Claims, error) {
	g.meanwhile()
	return g.fakeGPU.Verify(evidence, bound)
}

func TestOneMachineIsJudgedByOneSetOfRules(t *testing.T) {
	gpu := &slowGPU{}
	b := newBench(t, func(c *Config) { c.Verifiers = append(c.Verifiers, gpu) })
	b.furnish()
	b.judgeGPUs(gpuPolicy)
	for n, want := range []int{http.StatusOK, http.StatusUnauthorized} {
		gpu.meanwhile = func() { b.judgeGPUs(strings.Replace(gpuPolicy, `"good"`, `"better"`, 1)) }
		m := b.machine()
		m.auth()
		if status, body := m.call("POST", "/kbs/v0/attest", m.composite("good", "nvidia")); status != want {
			t.Errorf("handshake %d: got %d %s, want %d", n, status, body, want)
		}
	}
}

func TestTheProofOfAMachineWithDevicesVerifies(t *testing.T) {
	ring, prove := proving(t)
	maker := snpMaker(t)
	processor := snpVerifier(t, maker, nil)
	b := newBench(t, func(c *Config) {
		prove(c)
		c.Verifiers = []attest.Verifier{processor, fakeGPU{}}
	})
	values := onSNP()
	values.UKI = "sha256:" + strings.Repeat("ab", 32)
	check(t, b.admin.Trust(t.Context(), signedReference(t, ring, values)))
	check(t, b.admin.Allow(t.Context(), initDataDigest, []string{"default/key/x"}))
	check(t, b.admin.SetResource(t.Context(), "default/key/x", []byte("the key")))
	b.judgeGPUs(gpuPolicy)
	m := b.machine()
	status, body := m.shakeWith(verify.TEE, func(data api.RuntimeData) string { return m.devices(data, "good", "nvidia") }, m.onSNP(maker, nil))
	m.take(status, body)
	m.fetch()
	raw, err := b.admin.Proof(t.Context(), b.proofs()[0].ID)
	check(t, err)
	reader := proof.Reader{Roots: ring.RootPool(), Hardware: []attest.Verifier{processor, fakeGPU{}}, DevicePolicies: map[string][]string{"gpu": {gpuPolicy}}, At: time.Now()}
	judge := func(change func(*api.ReleaseProof), r proof.Reader) *proof.Report {
		signed := raw
		if change != nil {
			p, err := proof.Peek(raw)
			check(t, err)
			change(p)
			signed, err = proof.Seal(*p, ring.Releases())
			check(t, err)
		}
		report, err := proof.Verify(t.Context(), signed, r)
		check(t, err)
		return report
	}
	if r := judge(nil, reader); !r.Verified || !slices.Equal(r.Release.Devices, []string{"nvidia"}) {
		t.Fatalf("got %v, %+v", r.Release.Devices, r.Checks)
	}
	noPolicy, noVerifier, misnamed := reader, reader, reader
	misnamed.DevicePolicies = map[string][]string{"switch": {gpuPolicy}, "gpu": {gpuPolicy + "\n# another\n"}}
	noPolicy.DevicePolicies, noPolicy.AttestationPolicies = nil, []string{gpuPolicy}
	noVerifier.Hardware = []attest.Verifier{processor}
	device := func(p *api.ReleaseProof) *api.ProofDevice { return &p.Attestation.Devices[0] }
	for name, c := range map[string]struct {
		change func(*api.ReleaseProof)
		by     proof.Reader
		want   string
	}{
		"a policy nobody vouches for":  {nil, noPolicy, "is neither the one of its kind that this program ships nor one that the reader named"},
		"a policy of another class":    {nil, misnamed, "the reader named it for class switch, and the device is of class gpu"},
		"of a kind that nobody judges": {nil, noVerifier, "cannot be judged by this program"},
		"the device is left out":       {func(p *api.ReleaseProof) { p.Attestation.Devices = nil }, reader, "the machine showed 1, and 0 were judged"},
		"of another class":             {func(p *api.ReleaseProof) { device(p).Class = "cpu" }, reader, "it is of class gpu"},
		"better than it is":            {func(p *api.ReleaseProof) { device(p).Policy.Trust = map[string]int8{"hardware": 3} }, reader, "of the machine's trustworthiness"},
		"judged on other claims":       {func(p *api.ReleaseProof) { device(p).Policy.Input = []byte(`{"claims":{"pcr00":"good"}}`) }, reader, "is not what the evidence leads to"},
		"another machine's": {func(p *api.ReleaseProof) {
			p.Attestation.Message.TEEEvidence.Additional = strings.Replace(p.Attestation.Message.TEEEvidence.Additional, `"good"`, `"fine"`, 1)
		}, reader, "hardware"},
	} {
		bad := judge(c.change, c.by).Failures()
		if len(bad) == 0 || !strings.Contains(bad[0].Name+": "+bad[0].Text, c.want) {
			t.Errorf("%s: got %+v, want %q", name, bad, c.want)
		}
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
