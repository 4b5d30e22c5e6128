package broker

import (
	"encoding/json"
	"net/http"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/sample"
)

func (m *machine) shakeSample() (int, []byte) {
	return m.shake(sample.TEE, func(digest []byte) json.RawMessage {
		raw, err := json.Marshal(map[string]any{"svn": "1", "report_data": digest})
		check(m.b.t, err)
		return raw
	})
}

func TestSampleEvidenceIsTakenOnlyByWhoAsksForIt(t *testing.T) {
	b := newBench(t, nil)
	status, body := b.machine().call("POST", "/kbs/v0/auth", map[string]any{"version": "0.4.0", "tee": sample.TEE, "extra-params": map[string]any{}})
	wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, `TEE "sample" is not supported`)
}

func TestEachDecisionOnSampleEvidenceIsMarked(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Verifiers = []attest.Verifier{sample.Verifier{}} })
	b.furnish()
	m := b.machine()
	status, body := m.shakeSample()
	var token api.KBSToken
	if err := json.Unmarshal(body, &token); err != nil || status != http.StatusOK {
		t.Fatalf("attest: %d %s", status, body)
	}
	if e := b.lastEntry(); e.Decision != api.AuditAllow || e.Warning != sample.Warning {
		t.Errorf("attest: got %+v", e)
	}
	m.token = token.Token
	if status, body = m.call("GET", "/kbs/v0/resource/default/key/x", nil); status != http.StatusOK {
		t.Fatalf("resource: %d %s", status, body)
	}
	if e := b.lastEntry(); e.Action != "get-resource" || e.Warning != sample.Warning {
		t.Errorf("get-resource: got %+v", e)
	}
	stranger := b.machine()
	stranger.initData = "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n"
	if status, body = stranger.shakeSample(); status != http.StatusUnauthorized {
		t.Fatalf("a configuration that nobody authorised: %d %s", status, body)
	}
	if e := b.lastEntry(); e.Decision != api.AuditRefuse || e.Warning != sample.Warning {
		t.Errorf("refused: got %+v", e)
	}
}
