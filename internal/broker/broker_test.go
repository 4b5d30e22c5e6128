package broker

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/broker/admin"
)

// fakeVerifier stands for hardware where the subject is the broker: it
// believes evidence that repeats the runtime digest, and claims what the
// evidence says. Package attack has the real thing.
type fakeVerifier struct{}

type fakeEvidence struct {
	Digest []byte            `json:"digest"`
	PCRs   map[string]string `json:"pcrs"`
}

func (fakeVerifier) TEE() string { return "tpm" }

func (fakeVerifier) Begin(p api.RequestParams) (attest.Session, error) {
	if p.Activation == nil {
		return nil, attest.ErrActivation
	}
	return fakeVerifier{}, nil
}

func (fakeVerifier) Challenge() api.ChallengeParams {
	return api.ChallengeParams{SelectedHashAlgorithm: "sha384"}
}

func (fakeVerifier) Verify(raw json.RawMessage, bound attest.Binding) (attest.Claims, error) {
	var e fakeEvidence
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, attest.ErrMalformed
	}
	if !bytes.Equal(e.Digest, bound.RuntimeDigest) {
		return nil, attest.ErrNonce
	}
	claims := attest.Claims{"ek_certificate": "ec", "init_data": "08", "report_data": "00"}
	for name, value := range e.PCRs {
		claims[name] = value
	}
	return claims, nil
}

const zeroPCR = "0000000000000000000000000000000000000000000000000000000000000000"

func pcr(digit string) string { return strings.Repeat(digit, 64) }

func goodPCRs() map[string]string {
	return map[string]string{"pcr04": pcr("4"), "pcr07": pcr("7"), "pcr11": pcr("b"), "pcr12": zeroPCR, "pcr13": zeroPCR}
}

var guestValues = api.ReferenceValues{
	Image: "guest", UKI: "sha256:aa", PCRs: map[string]string{"11": pcr("b"), "12": zeroPCR, "13": zeroPCR},
	Firmware: []api.FirmwareReference{{Firmware: "sha256:f", SecureBoot: true, PCRs: map[string]string{"4": pcr("4"), "7": pcr("7")}}},
}

const initDataBody = `version = "0.1.0"
algorithm = "sha256"

[data]
"holdfast.json" = '{"secrets":[{"name":"password","resource":"kbs:///default/secret/password"},{"name":"x","resource":"kbs:///a/b/$(reboot)"}]}'
`

var initDataDigest = digestOf([]byte(initDataBody))

// A bench is a broker and all that speaks with it.
type bench struct {
	*Broker
	t     *testing.T
	url   string
	admin *admin.Client
	now   *time.Time
}

func newBench(t *testing.T, edit func(*Config)) *bench {
	t.Helper()
	now := time.Now()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	cfg := Config{
		Dir: filepath.Join(t.TempDir(), "broker"), TokenKey: newKey(t), AdminKeys: []crypto.PublicKey{public},
		Verifiers: []attest.Verifier{fakeVerifier{}}, Now: func() time.Time { return now },
		VerifyReference: func(envelope []byte) (*api.ReferenceValues, error) {
			var values api.ReferenceValues
			return &values, json.Unmarshal(envelope, &values)
		},
	}
	if edit != nil {
		edit(&cfg)
	}
	b, err := New(cfg)
	check(t, err)
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	client := &admin.Client{URL: server.URL, Key: private, Name: "tester", Now: cfg.Now}
	return &bench{Broker: b, t: t, url: server.URL, admin: client, now: &now}
}

// furnish makes the good path good.
func (b *bench) furnish() {
	b.t.Helper()
	envelope, err := json.Marshal(guestValues)
	check(b.t, err)
	check(b.t, b.admin.Trust(b.t.Context(), envelope))
	check(b.t, b.admin.Allow(b.t.Context(), initDataDigest, []string{"default/key/x", "default/key/absent"}))
	check(b.t, b.admin.SetResource(b.t.Context(), "default/key/x", []byte("the key")))
	check(b.t, b.admin.SetResource(b.t.Context(), "default/key/other", []byte("another key")))
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return key
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A machine is the other side of the protocol, step by step.
type machine struct {
	b        *bench
	key      *ecdsa.PrivateKey
	cookie   *http.Cookie
	nonce    string
	token    string
	initData string
	pcrs     map[string]string
}

func (b *bench) machine() *machine {
	return &machine{b: b, key: newKey(b.t), initData: initDataBody, pcrs: goodPCRs()}
}

// call returns the status and what kind of answer came.
func (m *machine) call(method, path string, body any) (int, []byte) {
	m.b.t.Helper()
	raw, isRaw := body.([]byte)
	if !isRaw && body != nil {
		var err error
		raw, err = json.Marshal(body)
		check(m.b.t, err)
	}
	req, err := http.NewRequest(method, m.b.url+path, bytes.NewReader(raw))
	check(m.b.t, err)
	if m.cookie != nil {
		req.AddCookie(m.cookie)
	}
	if m.token != "" {
		req.Header.Set("Authorization", "Bearer "+m.token)
	}
	resp, err := http.DefaultClient.Do(req)
	check(m.b.t, err)
	defer resp.Body.Close()
	for _, c := range resp.Cookies() {
		m.cookie = c
	}
	out, err := io.ReadAll(resp.Body)
	check(m.b.t, err)
	return resp.StatusCode, out
}

func (m *machine) auth() {
	m.b.t.Helper()
	status, body := m.call("POST", "/kbs/v0/auth", map[string]any{
		"version": "0.4.0", "tee": "tpm",
		"extra-params": map[string]any{"supported-hash-algorithms": []string{"sha384"}, "tpm-activation": map[string]any{}},
	})
	var c api.KBSChallenge
	if err := json.Unmarshal(body, &c); err != nil || status != http.StatusOK {
		m.b.t.Fatalf("auth: %d %s", status, body)
	}
	m.nonce = c.Nonce
}

func (m *machine) jwk() json.RawMessage {
	point, err := m.key.PublicKey.Bytes()
	check(m.b.t, err)
	raw, err := json.Marshal(teeKey{Kty: "EC", Alg: algECDH, Crv: "P-256", X: base64url(point[1:33]), Y: base64url(point[33:])})
	check(m.b.t, err)
	return raw
}

func (m *machine) attestation() api.KBSAttestation {
	m.b.t.Helper()
	data := api.RuntimeData{Nonce: m.nonce, TEEPubKey: m.jwk()}
	digest, err := attest.RuntimeDigest(data, "")
	check(m.b.t, err)
	evidence, err := json.Marshal(fakeEvidence{Digest: digest, PCRs: m.pcrs})
	check(m.b.t, err)
	a := api.KBSAttestation{RuntimeData: data, TEEEvidence: api.CompositeEvidence{Primary: evidence}}
	if m.initData != "" {
		a.InitData = &api.InitDataMessage{Format: "toml", Body: m.initData}
	}
	return a
}

func (m *machine) attest() {
	m.b.t.Helper()
	status, body := m.call("POST", "/kbs/v0/attest", m.attestation())
	var token api.KBSToken
	if err := json.Unmarshal(body, &token); err != nil || status != http.StatusOK {
		m.b.t.Fatalf("attest: %d %s", status, body)
	}
	m.token = token.Token
}

func (m *machine) open(body []byte) string {
	m.b.t.Helper()
	jwe, err := jose.ParseEncryptedJSON(string(body), []jose.KeyAlgorithm{jose.ECDH_ES_A256KW}, []jose.ContentEncryption{jose.A256GCM})
	check(m.b.t, err)
	value, err := jwe.Decrypt(m.key)
	check(m.b.t, err)
	return string(value)
}

// wantProblem checks a refusal's status, kind and words.
func wantProblem(t *testing.T, status int, body []byte, wantStatus int, kind, text string) {
	t.Helper()
	var p api.ErrorInformation
	if err := json.Unmarshal(body, &p); err != nil {
		t.Errorf("got %d %s, want an ErrorInformation", status, body)
		return
	}
	if status != wantStatus || p.Type != api.ProblemPrefix+kind || !strings.Contains(p.Detail, text) {
		t.Errorf("got  %d %s %q\nwant %d %s %q", status, p.Type, p.Detail, wantStatus, kind, text)
	}
}

// log returns the audit log.
func (b *bench) auditLog() []api.AuditEntry {
	b.t.Helper()
	f, err := os.Open(filepath.Join(b.cfg.Dir, AuditFile))
	check(b.t, err)
	defer f.Close()
	var all []api.AuditEntry
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var e api.AuditEntry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			b.t.Fatalf("audit line %q: %v", lines.Text(), err)
		}
		all = append(all, e)
	}
	return all
}

func (b *bench) lastEntry() api.AuditEntry {
	b.t.Helper()
	all := b.auditLog()
	return all[len(all)-1]
}

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
		"more evidence": {func(_ *machine, a *api.KBSAttestation) { a.TEEEvidence.Additional = `{"nvidia":{}}` }, "additional devices is not supported", ""},
		"configuration": {func(_ *machine, a *api.KBSAttestation) { a.InitData.Body = other },
			"configuration " + digestOf([]byte(other)) + " is not authorised (to allow the configuration: holdfast broker allow " + digestOf([]byte(other)) + " --resource default/secret/passcode)",
			"configuration " + digestOf([]byte(other)) + " is not authorised"},
		"no document":   {func(_ *machine, a *api.KBSAttestation) { a.InitData = nil }, "the machine sent no init-data document", ""},
		"json document": {func(_ *machine, a *api.KBSAttestation) { a.InitData.Format = "json" }, `format "json" is not supported`, ""},
		"sha384": {func(_ *machine, a *api.KBSAttestation) {
			a.InitData.Body = strings.Replace(initDataBody, "sha256", "sha384", 1)
		}, `algorithm "sha384" is not supported`, ""},
		"broken TOML":  {func(_ *machine, a *api.KBSAttestation) { a.InitData.Body = "version = " }, "init-data: toml", ""},
		"bad evidence": {func(_ *machine, a *api.KBSAttestation) { a.TEEEvidence.Primary = json.RawMessage(`"x"`) }, "evidence is malformed", ""},
		"duplicate name": {func(_ *machine, a *api.KBSAttestation) {
			a.RuntimeData.TEEPubKey = json.RawMessage(strings.Replace(string(a.RuntimeData.TEEPubKey), `{`, `{"kty":"EC",`, 1))
		}, "runtime data: evidence is malformed", ""},
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
	if _, err := b.store.resource("default/key/new"); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v, want no such resource", err)
	}
}

func TestIncompleteConfigIsRefused(t *testing.T) {
	good := Config{Dir: t.TempDir(), TokenKey: newKey(t), Verifiers: []attest.Verifier{fakeVerifier{}}}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	check(t, err)
	for want, edit := range map[string]func(*Config){
		"token key":       func(c *Config) { c.TokenKey = nil },
		"P-256":           func(c *Config) { c.TokenKey = p384 },
		"no verifier":     func(c *Config) { c.Verifiers = nil },
		"no state folder": func(c *Config) { c.Dir = "" },
	} {
		cfg := good
		edit(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
