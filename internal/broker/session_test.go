package broker

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
)

func TestNonceIsGoodOnce(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	m := b.machine()
	m.auth()
	a, asked := m.attestation(), m.cookie
	m.attest()
	earned := m.cookie
	m.cookie = asked
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
	m.cookie, m.token = earned, ""
	if status, _ := m.call("GET", "/kbs/v0/resource/default/key/x", nil); status != http.StatusOK {
		t.Fatal("the replay took the session away from its machine")
	}
}

func TestSessionsEnd(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	m := b.machine()
	m.auth()
	b.now.set(b.now.Now().Add(6 * time.Minute))
	status, body := m.call("POST", "/kbs/v0/attest", m.attestation())
	wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, "unknown or has expired")

	m = b.machine()
	m.auth()
	m.attest()
	b.now.set(b.now.Now().Add(6 * time.Minute))
	status, body = m.call("GET", "/kbs/v0/resource/default/key/x", nil)
	wantProblem(t, status, body, http.StatusUnauthorized, kindToken, "expired")
	m.token = ""
	status, body = m.call("GET", "/kbs/v0/resource/default/key/x", nil)
	wantProblem(t, status, body, http.StatusUnauthorized, kindNoToken, "not attested")
}

func TestFloodOfHandshakesDisplacesNobody(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MaxSessions = 3 })
	b.furnish()
	early, done := b.machine(), b.machine()
	early.auth()
	done.auth()
	done.attest()
	for range 100 {
		b.machine().auth()
	}
	if b.Sessions() != 1 {
		t.Fatalf("got %d sessions, want the attested one", b.Sessions())
	}
	early.attest()
	done.token = ""
	if status, body := done.call("GET", "/kbs/v0/resource/default/key/x", nil); status != http.StatusOK {
		t.Fatalf("the attested session is gone: %d %s", status, body)
	}
}

func TestDevicesNewestSessionsStay(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Limits.SessionsPerDevice = 2 })
	b.furnish()
	machines := []*machine{b.machine(), b.machine(), b.machine()}
	for _, m := range machines {
		m.auth()
		m.attest()
		m.token = ""
	}
	for i, want := range []int{http.StatusUnauthorized, http.StatusOK, http.StatusOK} {
		if status, body := machines[i].call("GET", "/kbs/v0/resource/default/key/x", nil); status != want {
			t.Errorf("session %d: got %d %s, want %d", i, status, body, want)
		}
	}
	if len(b.Broker.sessions.keys) != 1 || b.Sessions() != 2 {
		t.Errorf("got %d devices with %d sessions", len(b.Broker.sessions.keys), b.Sessions())
	}
}

func TestFullBrokerSaysWhenToComeBack(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MaxSessions = 1 })
	b.furnish()
	first, second := b.machine(), b.machine()
	first.auth()
	first.attest()
	b.now.set(b.now.Now().Add(time.Minute))
	second.auth()
	status, body := second.call("POST", "/kbs/v0/attest", second.attestation())
	wantProblem(t, status, body, http.StatusServiceUnavailable, kindAttestation, "limit of 1 attested sessions")
	if got := second.header.Get("Retry-After"); got != "240" {
		t.Errorf("got Retry-After %q, want 240", got)
	}
	b.now.set(b.now.Now().Add(4*time.Minute + time.Second))
	third := b.machine()
	third.auth()
	third.attest()
}

func TestWhoComesTooOftenWaits(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Limits = Limits{Source: Rate{time.Minute, 4}, Device: Rate{time.Hour, 1}, Token: Rate{time.Minute, 2}}
	})
	b.furnish()
	m := b.machine()
	m.auth()
	m.attest()
	for _, want := range []int{200, 200, 429} {
		status, body := m.call("GET", "/kbs/v0/resource/default/key/x", nil)
		if status != want {
			t.Fatalf("resource: got %d %s, want %d", status, body, want)
		}
	}
	again := b.machine()
	again.auth()
	status, body := again.call("POST", "/kbs/v0/attest", again.attestation())
	wantProblem(t, status, body, http.StatusTooManyRequests, kindAttestation, "too many requests of one device")
	status, body = again.call("POST", "/kbs/v0/auth", []byte("{}"))
	wantProblem(t, status, body, http.StatusTooManyRequests, kindAttestation, "too many requests of one address")
	if got := again.header.Get("Retry-After"); got != "60" {
		t.Errorf("got Retry-After %q, want 60", got)
	}
	b.now.set(b.now.Now().Add(time.Minute))
	b.machine().auth()
}

func TestCookiesAreTheBrokersOwn(t *testing.T) {
	b, other := newBench(t, nil), newBench(t, nil)
	b.furnish()
	m := b.machine()
	m.auth()
	good := m.cookie.Value
	foreign := other.machine()
	foreign.auth()
	raw, err := base64.RawURLEncoding.DecodeString(good)
	check(t, err)
	for i := range raw {
		changed := bytes.Clone(raw)
		changed[i] ^= 1
		if _, _, err := b.begun.open(base64url(changed)); err == nil {
			t.Fatalf("byte %d was changed, and nobody minds", i)
		}
	}
	for _, value := range []string{foreign.cookie.Value, "", "x", good[:30], good + "AAAA", strings.Repeat("A", maxCookie+1)} {
		m.cookie.Value = value
		status, body := m.call("POST", "/kbs/v0/attest", m.attestation())
		wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, "")
	}
	m.cookie.Value = good
	m.attest()
	if m.cookie.Value == good || len(m.cookie.Value) != 32 {
		t.Errorf("the attested session is %q", m.cookie.Value)
	}
}

// RFC 6265, section 6.1: user agents keep 4096 bytes of a cookie at least.
func TestCookieOfALargeCertificateIsSmallEnough(t *testing.T) {
	c := newChallenges(time.Minute, time.Now)
	offer := &api.ActivationOffer{EKCertificate: randomBytes(1900), EKPublic: randomBytes(314), AKPublic: randomBytes(278)}
	s := &session{tee: "az-snp-vtpm", nonce: base64.StdEncoding.EncodeToString(randomBytes(32)), offer: offer,
		params: api.RequestParams{SupportedHashAlgorithms: []string{"sha256", "sha384", "sha512", "sm3"}}, proof: keeper(randomBytes(32))}
	cookie, err := c.begin(s, newDesk())
	check(t, err)
	cookie.Secure = true
	if got := len(cookie.String()); got > 4096 {
		t.Errorf("the cookie takes %d bytes", got)
	}
	got, kept, err := c.open(cookie.Value)
	if err != nil || got.tee != s.tee || got.nonce != s.nonce || !reflect.DeepEqual(got.offer, offer) || !bytes.Equal(kept, s.proof.(keeper)) || got.offered != digestOf(offer.EKCertificate) {
		t.Errorf("got %+v, %v", got, err)
	}
	offer.EKCertificate = randomBytes(8000)
	if _, err := c.begin(s, newDesk()); err == nil || !strings.Contains(err.Error(), "take a cookie of") {
		t.Errorf("got %v for a certificate of 8000 bytes", err)
	}
}

type keeper []byte

func (k keeper) Keep() []byte                 { return k }
func (keeper) Challenge() api.ChallengeParams { return api.ChallengeParams{} }
func (keeper) Verify(json.RawMessage, attest.Binding) (attest.Claims, error) {
	return nil, attest.ErrMalformed
}

func TestNoncesAreRememberedAsLongAsTheyLive(t *testing.T) {
	now := time.Now()
	a := answered{life: time.Minute, max: 3, turned: now}
	use := func(id byte, after time.Duration) (bool, error) {
		fresh, _, err := a.use(sessionID{id}, now.Add(after))
		return fresh, err
	}
	for i, step := range []struct {
		id    byte
		after time.Duration
		fresh bool
	}{{1, 0, true}, {1, 0, false}, {2, 59 * time.Second, true}, {2, 61 * time.Second, false}, {2, 118 * time.Second, false}, {1, 125 * time.Second, true}, {2, 250 * time.Second, true}} {
		if fresh, err := use(step.id, step.after); err != nil || fresh != step.fresh {
			t.Errorf("step %d: got %t, %v", i, fresh, err)
		}
	}
	_, _ = use(3, 250*time.Second)
	_, _ = use(4, 250*time.Second)
	var full *problem
	if _, err := use(5, 260*time.Second); !errors.As(err, &full) || full.status != http.StatusServiceUnavailable || full.retry != "50" {
		t.Errorf("a fourth nonce: got %v", err)
	}
	if fresh, err := use(3, 260*time.Second); err != nil || fresh {
		t.Errorf("a full set forgot: %t, %v", fresh, err)
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
