package broker

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
)

func TestAttestedMachineGetsItsResource(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	m := b.machine()
	m.auth()
	m.attest()
	for _, with := range []string{"session", "token"} {
		kept := *m
		if with == "session" {
			kept.token = ""
		} else {
			kept.cookie = nil
		}
		status, body := kept.call("GET", "/kbs/v0/resource/default/key/x", nil)
		if status != http.StatusOK || kept.open(body) != "the key" {
			t.Fatalf("by %s: got %d %s", with, status, body)
		}
		e := b.lastEntry()
		if e.Action != "get-resource" || e.Decision != api.AuditAllow || e.Resource != "default/key/x" || e.Session == "" || e.InitData != initDataDigest {
			t.Fatalf("by %s: got audit entry %+v", with, e)
		}
	}
	raw, _ := os.ReadFile(filepath.Join(b.cfg.Dir, AuditFile))
	for _, secret := range []string{"the key", m.cookie.Value, m.token} {
		if bytes.Contains(raw, []byte(secret)) {
			t.Errorf("the audit log holds the secret %q", secret)
		}
	}
}

func TestRefusalsSayWhyOnTheWireAndInTheLog(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	other := strings.Replace(initDataBody, "password", "passcode", 2)
	tests := map[string]struct {
		edit func(*machine, *api.KBSAttestation)
		text string // of the answer
		log  string // of the log's reason; text when empty
	}{
		"other nonce": {func(_ *machine, a *api.KBSAttestation) { a.RuntimeData.Nonce = "other" }, "the nonce is not the one of this session's challenge", ""},
		"other key":   {func(m *machine, a *api.KBSAttestation) { m.key = newKey(t); a.RuntimeData.TEEPubKey = m.jwk() }, "verify TEE evidence failed: evidence is not for this handshake", ""},
		"weak key": {func(_ *machine, a *api.KBSAttestation) {
			a.RuntimeData.TEEPubKey = json.RawMessage(`{"kty":"RSA","alg":"RSA1_5"}`)
		}, "is not supported", ""},
		"added evidence": {func(_ *machine, a *api.KBSAttestation) { a.TEEEvidence.Additional = `{"nvidia":{}}` }, "evidence is not for this handshake", ""},
		"more evidence":  {func(_ *machine, a *api.KBSAttestation) { a.TEEEvidence.Additional = `[1]` }, "additional_evidence: json", ""},
		"configuration": {func(_ *machine, a *api.KBSAttestation) { a.InitData.Body = other },
			"configuration " + digestOf([]byte(other)) + " is not authorised (to allow the configuration: holdfast broker allow " + digestOf([]byte(other)) + " --resource default/secret/passcode)",
			"configuration " + digestOf([]byte(other)) + " is not authorised"},
		"no document":   {func(_ *machine, a *api.KBSAttestation) { a.InitData = nil }, "the machine sent no init-data document", ""},
		"json document": {func(_ *machine, a *api.KBSAttestation) { a.InitData.Format = "json" }, `format "json" is not supported`, ""},
		"sm3": {func(_ *machine, a *api.KBSAttestation) {
			a.InitData.Body = strings.Replace(initDataBody, "sha256", "sm3", 1)
		}, `algorithm "sm3" is not supported`, ""},
		"broken TOML":  {func(_ *machine, a *api.KBSAttestation) { a.InitData.Body = "version = " }, "init-data: toml", ""},
		"bad evidence": {func(_ *machine, a *api.KBSAttestation) { a.TEEEvidence.Primary = json.RawMessage(`"x"`) }, "evidence is malformed", ""},
		"duplicate name": {func(_ *machine, a *api.KBSAttestation) {
			a.RuntimeData.TEEPubKey = json.RawMessage(strings.Replace(string(a.RuntimeData.TEEPubKey), `{`, `{"kty":"EC",`, 1))
		}, "duplicate object member name \"kty\" within \"/runtime-data/tee-pubkey\"", ""},
	}
	for name, test := range tests {
		m := b.machine()
		m.auth()
		a := m.attestation()
		test.edit(m, &a)
		status, body := m.call("POST", "/kbs/v0/attest", a)
		t.Run(name, func(t *testing.T) {
			wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, test.text)
			e := b.lastEntry()
			want := test.log
			if want == "" {
				want = test.text
			}
			if e.Action != "attest" || e.Decision != api.AuditRefuse || len(e.Reasons) != 1 || !strings.Contains(e.Reasons[0], want) {
				t.Errorf("got audit entry %+v, want the reason %q", e, want)
			}
		})
		if status, _ := m.call("GET", "/kbs/v0/resource/default/key/x", nil); status != http.StatusUnauthorized {
			t.Errorf("%s: a refused machine's request got %d", name, status)
		}
	}
}

func TestForeignTokenIsRefused(t *testing.T) {
	b, stranger := newBench(t, nil), newBench(t, nil)
	b.furnish()
	stranger.furnish()
	m := stranger.machine()
	m.auth()
	m.attest()
	foreign := b.machine()
	parts := strings.Split(m.token, ".")
	unsigned := base64url([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."
	for _, token := range []string{m.token, unsigned, parts[0] + "." + parts[1] + ".", "x", "a.b.c"} {
		foreign.token = token
		status, body := foreign.call("GET", "/kbs/v0/resource/default/key/x", nil)
		wantProblem(t, status, body, http.StatusUnauthorized, kindToken, "Token Verifier error")
	}
}

func TestNothingIsAllowedThatCannotBeRecorded(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	m := b.machine()
	m.auth()
	m.attest()
	log := filepath.Join(b.cfg.Dir, AuditFile)
	check(t, os.Rename(log, log+".kept"))
	check(t, os.Mkdir(log, 0o700))
	status, body := m.call("GET", "/kbs/v0/resource/default/key/x", nil)
	wantProblem(t, status, body, http.StatusInternalServerError, kindInternal, "see its log")
	if err := b.admin.SetResource(t.Context(), "default/key/new", []byte("x")); err == nil {
		t.Fatal("a change without a record was accepted")
	}
	if _, err := b.state.Resource(t.Context(), "default/key/new"); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v, want no such resource", err)
	}
}

func TestIncompleteConfigIsRefused(t *testing.T) {
	dir := t.TempDir()
	good := Config{Dir: dir, State: openTestState(t, dir, time.Now), TokenKey: newKey(t), Verifiers: []attest.Verifier{fakeVerifier{}}}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	check(t, err)
	for want, edit := range map[string]func(*Config){
		"token key":   func(c *Config) { c.TokenKey = nil },
		"P-256":       func(c *Config) { c.TokenKey = p384 },
		"no verifier": func(c *Config) { c.Verifiers = nil },
		"no folder":   func(c *Config) { c.Dir = "" },
		"and state":   func(c *Config) { c.State = nil },
	} {
		cfg := good
		edit(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
