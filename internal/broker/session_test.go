package broker

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
)

func TestNonceIsGoodOnce(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	m := b.machine()
	m.auth()
	a := m.attestation()
	m.attest()
	status, body := m.call("POST", "/kbs/v0/attest", a)
	wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, "answered before")
	if e := b.lastEntry(); e.Decision != api.AuditRefuse || !strings.Contains(e.Reasons[0], "answered before") {
		t.Fatalf("got audit entry %+v", e)
	}
	before := len(b.auditLog())
	m.call("POST", "/kbs/v0/attest", a)
	if got := len(b.auditLog()); got != before {
		t.Fatalf("one session wrote %d more lines by trying again", got-before)
	}
	if status, _ := m.call("GET", "/kbs/v0/resource/default/key/x", nil); status != http.StatusOK {
		t.Fatal("the replay took the session away from its machine")
	}
}

func TestSessionsEnd(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	m := b.machine()
	m.auth()
	*b.now = b.now.Add(6 * time.Minute)
	status, body := m.call("POST", "/kbs/v0/attest", m.attestation())
	wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, "unknown or has expired")

	m = b.machine()
	m.auth()
	m.attest()
	*b.now = b.now.Add(6 * time.Minute)
	status, body = m.call("GET", "/kbs/v0/resource/default/key/x", nil)
	wantProblem(t, status, body, http.StatusUnauthorized, kindToken, "expired")
	m.token = ""
	status, body = m.call("GET", "/kbs/v0/resource/default/key/x", nil)
	wantProblem(t, status, body, http.StatusUnauthorized, kindNoToken, "not attested")
}

func TestFloodOfHandshakesDisplacesOnlyUnfinishedOnes(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MaxSessions = 3 })
	b.furnish()
	done := b.machine()
	done.auth()
	done.attest()
	for range 10 {
		b.machine().auth()
	}
	if b.Sessions() > 3 {
		t.Fatalf("got %d sessions, want at most 3", b.Sessions())
	}
	done.token = ""
	if status, body := done.call("GET", "/kbs/v0/resource/default/key/x", nil); status != http.StatusOK {
		t.Fatalf("the attested session is gone: %d %s", status, body)
	}
}

func TestRequestIsCheckedAsTrusteeDoes(t *testing.T) {
	b := newBench(t, nil)
	tests := map[string]struct{ body, want string }{
		"old version":     {`{"version":"0.1.1","tee":"tpm","extra-params":""}`, "KBS Client Protocol Version Mismatch: expect =0.4.0 while the request is 0.1.1"},
		"patch":           {`{"version":"0.4.1","tee":"tpm","extra-params":""}`, "Version Mismatch"},
		"pre-release":     {`{"version":"0.4.0-rc1","tee":"tpm","extra-params":""}`, "Version Mismatch"},
		"build":           {`{"version":"0.4.0+build.1","tee":"snp","extra-params":""}`, `TEE "snp" is not supported`},
		"no activation":   {`{"version":"0.4.0","tee":"tpm","extra-params":""}`, "attestation key is not proven to be in the endorsed device"},
		"no parameters":   {`{"version":"0.4.0","tee":"tpm"}`, "not proven"},
		"bad activation":  {`{"version":"0.4.0","tee":"tpm","extra-params":{"tpm-activation":{"ak-public":3}}}`, "extra-params: json"},
		"not JSON":        {`{`, "deserialize Request"},
		"another type":    {`[]`, "deserialize Request"},
		"parameters list": {`{"version":"0.4.0","tee":"tpm","extra-params":[1]}`, "not proven"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			status, body := b.machine().call("POST", "/kbs/v0/auth", []byte(test.body))
			wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, test.want)
		})
	}
	status, body := b.machine().call("POST", "/kbs/v0/auth", bytes.Repeat([]byte(" "), maxRequest+1))
	wantProblem(t, status, body, http.StatusRequestEntityTooLarge, kindSerde, "larger than 65536 bytes")
	status, body = b.machine().call("POST", "/kbs/v0/attest", bytes.Repeat([]byte(" "), maxAttestation+1))
	wantProblem(t, status, body, http.StatusRequestEntityTooLarge, kindSerde, "larger than")
	status, body = b.machine().call("POST", "/kbs/v0/attest", nil)
	wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, "cookie kbs-session-id is missing")
	status, body = b.machine().call("GET", "/kbs/v0/auth", nil)
	wantProblem(t, status, body, http.StatusNotFound, kindNotFound, "GET /kbs/v0/auth is not served")
	if status, _ := b.machine().call("GET", "/healthz", nil); status != http.StatusOK {
		t.Errorf("healthz: got %d", status)
	}
}
