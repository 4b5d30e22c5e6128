package broker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/snp"
	"holdfast/internal/attest/snp/impostor"
	"holdfast/internal/attest/snp/verify"
)

// snpBench is a broker that believes a made-up maker of processors, and an
// image that it trusts on them.
func snpBench(t *testing.T) (*bench, *impostor.Maker) {
	t.Helper()
	maker := snpMaker(t)
	b := newBench(t, func(c *Config) { c.Verifiers = []attest.Verifier{snpVerifier(t, maker, nil)} })
	b.furnish()
	envelope, err := json.Marshal(onSNP())
	check(t, err)
	check(t, b.admin.Trust(t.Context(), envelope))
	return b, maker
}

var launched = []byte(strings.Repeat("m", 48))

func snpMaker(t *testing.T) *impostor.Maker {
	t.Helper()
	maker, err := impostor.New(snp.Genoa, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	check(t, err)
	return maker
}

func snpVerifier(t *testing.T, maker *impostor.Maker, clock func() time.Time) *verify.Verifier {
	t.Helper()
	v, err := verify.New(verify.Config{Clock: clock, Authorities: map[snp.Product][]verify.Authority{
		snp.Genoa: {{Root: maker.Root, VCEK: maker.Chips, VLEK: maker.Own}},
	}})
	check(t, err)
	return v
}

// onSNP is how the image is launched.
func onSNP() api.ReferenceValues {
	return api.ReferenceValues{Image: "guest", SNP: []api.SNPReference{{
		Measurement: hex.EncodeToString(launched), MinimumTCB: map[string]uint8{"bootloader": 4, "tee": 0, "snp": 24, "microcode": 219},
	}}}
}

// shake goes from auth to the answer to evidence, which make makes of the
// digest that it has to hold.
func (m *machine) shake(tee string, make func(digest []byte) json.RawMessage) (int, []byte) {
	m.b.t.Helper()
	return m.shakeWith(tee, func(api.RuntimeData) string { return "" }, make)
}

// shakeWith is shake of a machine with additional devices.
func (m *machine) shakeWith(tee string, devices func(api.RuntimeData) string, make func(digest []byte) json.RawMessage) (int, []byte) {
	m.b.t.Helper()
	status, body := m.call("POST", "/kbs/v0/auth", map[string]any{"version": "0.4.0", "tee": tee, "extra-params": map[string]any{}})
	var c api.KBSChallenge
	if err := json.Unmarshal(body, &c); err != nil || status != http.StatusOK {
		m.b.t.Fatalf("auth: %d %s", status, body)
	}
	data := api.RuntimeData{Nonce: c.Nonce, TEEPubKey: m.jwk()}
	additional := devices(data)
	digest, err := attest.RuntimeDigest(data, additional)
	check(m.b.t, err)
	return m.call("POST", "/kbs/v0/attest", api.KBSAttestation{
		RuntimeData: data, TEEEvidence: api.CompositeEvidence{Primary: make(digest), Additional: additional},
		InitData: &api.InitDataMessage{Format: "toml", Body: m.initData},
	})
}

func (m *machine) shakeSNP(maker *impostor.Maker, edit func(*impostor.Claim)) (int, []byte) {
	m.b.t.Helper()
	return m.shake(verify.TEE, m.onSNP(maker, edit))
}

// onSNP makes evidence.
func (m *machine) onSNP(maker *impostor.Maker, edit func(*impostor.Claim)) func(digest []byte) json.RawMessage {
	return func(digest []byte) json.RawMessage {
		host := sha256.Sum256([]byte(m.initData))
		claim := impostor.Claim{Report: digest, Host: host[:], Measurement: launched}
		if edit != nil {
			edit(&claim)
		}
		raw, err := maker.Evidence(claim)
		check(m.b.t, err)
		return raw
	}
}

func TestSNPMachineIsGivenWhatItMayHave(t *testing.T) {
	b, maker := snpBench(t)
	m := b.machine()
	status, body := m.shakeSNP(maker, nil)
	m.take(status, body)
	status, body = m.call("GET", "/kbs/v0/resource/default/key/x", nil)
	if status != http.StatusOK || m.open(body) != "the key" {
		t.Fatalf("resource: %d %s", status, body)
	}
	if status, body = m.call("GET", "/kbs/v0/resource/default/key/other", nil); status != http.StatusForbidden {
		t.Fatalf("a resource that it may not have: %d %s", status, body)
	}
}

func TestSNPMachineIsRefusedForTheRightReason(t *testing.T) {
	b, maker := snpBench(t)
	for name, lie := range map[string]struct {
		edit func(*impostor.Claim)
		want string
	}{
		"debugged":      {func(c *impostor.Claim) { c.Policy = 0x30000 | 1<<19 }, "may be debugged"},
		"migrated":      {func(c *impostor.Claim) { c.Policy = 0x30000 | 1<<18 }, "migration agent"},
		"another image": {func(c *impostor.Claim) { c.Measurement = []byte("other") }, "no trusted image has it"},
		"rolled back":   {func(c *impostor.Claim) { c.Edit = func(b []byte) { b[0x1E6] = 23 } }, "committed_tcb_snp is 23, must be at least 24"},
		"swapped":       {func(c *impostor.Claim) { c.Host = make([]byte, 32) }, attest.ErrLaunchData.Error()},
		"replayed":      {func(c *impostor.Claim) { c.Report = make([]byte, 48) }, attest.ErrNonce.Error()},
		"unprivileged":  {func(c *impostor.Claim) { c.VMPL = 2 }, attest.ErrPrivilege.Error()},
	} {
		status, body := b.machine().shakeSNP(maker, lie.edit)
		wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, lie.want)
		if reasons := b.lastEntry().Reasons; len(reasons) != 1 {
			t.Errorf("%s: the log gives %d reasons: %q", name, len(reasons), reasons)
		}
	}
}

func TestStrangersProcessorIsRefused(t *testing.T) {
	b, _ := snpBench(t)
	status, body := b.machine().shakeSNP(snpMaker(t), nil)
	wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, attest.ErrEndorsement.Error())
}
