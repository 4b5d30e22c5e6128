package broker

import (
	"crypto"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/sample"
)

// The key is found by the issuer's name, and policy decides by it: both must
// read the same one, whatever else is called nearly so.
func TestAnIssuerCannotGoByTwoNames(t *testing.T) {
	const lesser = "https://lesser.example"
	key := newKey(t)
	b := newBench(t, func(c *Config) {
		c.Issuers = func() []Issuer { return []Issuer{{Name: lesser, Keys: map[string]crypto.PublicKey{"1": key.Public()}}} }
	})
	b.furnish()
	check(t, b.admin.SetResourcePolicy(t.Context(), []byte("package policy\nimport rego.v1\ndefault allow := false\nallow if input.iss == \"holdfast\"\nreasons contains sprintf(\"issuer %s\", [input.iss]) if not allow")))
	m := b.attested()
	v, err := b.tokens.verify(m.token)
	check(t, err)
	payload, err := json.Marshal(v.claims)
	check(t, err)
	rest := strings.TrimPrefix(string(payload), "{")
	honest := strings.Replace(string(payload), `"iss":"holdfast"`, `"iss":"`+lesser+`"`, 1)
	for name, c := range map[string]struct {
		claims string
		status int
		kind   string
		want   string
	}{
		"his own":         {honest, http.StatusForbidden, kindDenied, "issuer " + lesser},
		"ISS behind iss":  {strings.TrimSuffix(string(payload), "}") + `,"ISS":"` + lesser + `"}`, http.StatusUnauthorized, kindToken, "it was not signed by this broker"},
		"iss behind ISS":  {`{"ISS":"` + lesser + `",` + rest, http.StatusUnauthorized, kindToken, "it was not signed by this broker"},
		"iss twice":       {`{"iss":"` + lesser + `",` + rest, http.StatusUnauthorized, kindToken, "its claims: "},
		"a long s (ſ)":    {strings.TrimSuffix(string(payload), "}") + `,"iſs":"` + lesser + `"}`, http.StatusUnauthorized, kindToken, "it was not signed by this broker"},
		"something more":  {honest + "{}", http.StatusUnauthorized, kindToken, "its claims: "},
		"SUBMODS besides": {strings.TrimSuffix(honest, "}") + `,"SUBMODS":{}}`, http.StatusForbidden, kindDenied, "issuer " + lesser},
	} {
		t.Run(name, func(t *testing.T) {
			signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
			check(t, err)
			signed, err := signer.Sign([]byte(c.claims))
			check(t, err)
			token, err := signed.CompactSerialize()
			check(t, err)
			status, body := b.show(&machine{b: b, key: m.key}, token)
			wantProblem(t, status, body, c.status, c.kind, c.want)
		})
	}
}

// Members of a message are read by their very names, as Trustee's serde does.
func TestMembersAreReadByTheirVeryNames(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	for name, c := range map[string]struct{ old, new, want string }{
		"another nonce twice": {`"nonce":`, `"nonce":"x","nonce":`, "duplicate object member name"},
		"evidence twice":      {`"tee-evidence":`, `"tee-evidence":{},"tee-evidence":`, "duplicate object member name"},
		"case of nonce":       {`"nonce":`, `"Nonce":`, "the nonce is not the one of this session's challenge"},
	} {
		t.Run(name, func(t *testing.T) {
			m := b.machine()
			m.auth()
			raw, err := json.Marshal(m.attestation())
			check(t, err)
			status, body := m.call("POST", "/kbs/v0/attest", []byte(strings.Replace(string(raw), c.old, c.new, 1)))
			wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, c.want)
		})
	}
}

// A resource has one spelling in a URL.
func TestAPathIsNotReadAsAURIAgain(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	m := b.attested()
	for _, path := range []string{
		"kbs:/%2F%2Fdefault/key%2Fx", "default/key%2Fx/", "default%2Fkey/x/y", "default/key/%2E%2E", "%2e%2e/key/x", "default/key/x%00", "default/key/x%0a",
		"default/key/..%2f..%2fx", "default/k%65y/x%20", "default/key/x;y", "default/key/x%3Fy", "default/key/x%23", "DEFAULT/%ff/x", "default/ke\u0301y/x",
	} {
		status, body := m.call("GET", "/kbs/v0/resource/"+path, nil)
		if status != http.StatusNotFound {
			t.Errorf("%s: got %d %s, want no such path", path, status, body)
		}
	}
	status, body := m.call("GET", "/kbs/v0/resource/default/key/x%2F..", nil)
	wantProblem(t, status, body, http.StatusNotFound, kindPath, "expected REPOSITORY/TYPE/TAG")
	status, body = m.call("GET", "/kbs/v0/resource/default/key/%2Ex", nil)
	wantProblem(t, status, body, http.StatusNotFound, kindPath, "must be 1 to")
	if status, body := m.call("GET", "/kbs/v0/resource/default/key/x", nil); status != http.StatusOK {
		t.Errorf("got %d %s", status, body)
	}
}

// Two images may show one PCR 11, as one that is signed again does. Whatever
// else is said of it, what was revoked stays so.
func TestRevocationOutlastsEveryOtherStanding(t *testing.T) {
	past := time.Now().Add(-time.Hour)
	shown := map[string]string{pcr("b"): "pcr11"}
	r := &rules{
		references: references{values: map[string]*api.ReferenceValues{"c": {UKI: "sha256:c", Image: "c", PCRs: map[string]string{"11": pcr("b")}}}},
		standings: map[string]api.ImageStanding{
			"sha256:a": {UKI: "sha256:a", Shows: shown, Revoked: &api.ImageRevocation{At: past, Reason: "it leaks"}},
			"sha256:b": {UKI: "sha256:b", Shows: shown, Until: &past},
		},
	}
	for range 50 { // the order of a map is another each time
		if images, _ := r.known(time.Now()); images[pcr("b")].Status != api.ImageRevoked {
			t.Fatalf("got %+v, want revoked", images[pcr("b")])
		}
	}
}

// A token of the last five minutes is of no use to whoever took it, also when
// the broker was started anew, another shares its state, or the clock was set.
func TestAUsedAdminTokenStaysUsed(t *testing.T) {
	const path = "/kbs/v0/resource/a/b/c"
	strict := func(c *Config) { c.PlainAdminTokens = false }
	b := newBench(t, strict)
	taken := &thief{}
	client := *b.admin
	client.HTTP = &http.Client{Transport: taken}
	check(t, client.SetResource(t.Context(), "a/b/c", []byte("x")))
	again := func(at *bench) {
		t.Helper()
		status, body := taken.send(at, "POST", path, []byte("x"))
		wantProblem(t, status, body, http.StatusUnauthorized, kindAdmin, "the token was used before")
	}
	same := func(c *Config) {
		strict(c)
		c.Dir, c.State, c.AdminKeys, c.TokenKey = b.cfg.Dir, b.cfg.State, b.cfg.AdminKeys, b.cfg.TokenKey
	}
	again(newBench(t, same)) // a second process, or the same after its end
	start := b.now.Now()
	for range 3 { // what is remembered in memory alone turns over
		b.now.set(b.now.Now().Add(10 * time.Minute))
		check(t, b.admin.SetResource(t.Context(), "a/b/d", []byte("x")))
	}
	b.now.set(start)
	again(b)
}

func TestATokenOnSampleEvidenceIsTakenOnlyByWhoAsksForIt(t *testing.T) {
	key := newKey(t)
	careless := newBench(t, func(c *Config) { c.Verifiers, c.TokenKey = []attest.Verifier{sample.Verifier{}}, key })
	careless.furnish()
	m := careless.machine()
	status, body := m.shakeSample()
	var token api.KBSToken
	if err := json.Unmarshal(body, &token); err != nil || status != http.StatusOK {
		t.Fatalf("attest: %d %s", status, body)
	}
	for name, edit := range map[string]func(*Config){
		"a broker that trusts the issuer": func(c *Config) {
			c.Issuer = "careful"
			c.Issuers = func() []Issuer {
				return []Issuer{{Name: "holdfast", Keys: map[string]crypto.PublicKey{kidOf(t, key.Public()): key.Public()}}}
			}
		},
		"the broker, started anew": func(c *Config) { c.TokenKey = key },
	} {
		t.Run(name, func(t *testing.T) {
			careful := newBench(t, edit)
			careful.furnish()
			status, body := careful.show(&machine{b: careful, key: m.key}, token.Token)
			wantProblem(t, status, body, http.StatusUnauthorized, kindToken, "its evidence is of kind sample")
		})
	}
}
