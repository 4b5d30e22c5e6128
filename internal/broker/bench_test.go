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
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

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
	t     testing.TB
	url   string
	admin *admin.Client
	now   *clock
}

// A clock is set by a test while the broker, and what it keeps a moment later,
// read it.
type clock struct {
	mu sync.Mutex
	at time.Time // guarded by mu
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}

func newBench(t testing.TB, edit func(*Config)) *bench {
	t.Helper()
	now := &clock{at: time.Now()}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	cfg := Config{
		Dir: filepath.Join(t.TempDir(), "broker"), TokenKey: newKey(t), AdminKeys: []crypto.PublicKey{public},
		Verifiers: []attest.Verifier{fakeVerifier{}}, Now: now.Now, Audience: "this broker", PlainAdminTokens: true,
		VerifyReference: func(envelope []byte) (*api.ReferenceValues, error) {
			var values api.ReferenceValues
			return &values, json.Unmarshal(envelope, &values)
		},
	}
	if edit != nil {
		edit(&cfg)
	}
	if cfg.State == nil {
		cfg.State = openTestState(t, cfg.Dir, cfg.Now)
	}
	b, err := New(cfg)
	check(t, err)
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	client := &admin.Client{URL: server.URL, Key: private, Name: "tester", Now: cfg.Now, Audience: cfg.Audience}
	return &bench{Broker: b, t: t, url: server.URL, admin: client, now: now}
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

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return key
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantProblem checks a refusal's status, kind and words.
func wantProblem(t testing.TB, status int, body []byte, wantStatus int, kind, text string) {
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
