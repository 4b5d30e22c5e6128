package broker

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/ear"
	"holdfast/internal/proof"
)

// authority issues certificates for token keys.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t testing.TB, now time.Time) *authority {
	a := &authority{key: newKey(t)}
	a.cert = a.certify(t, &a.key.PublicKey, true, now)
	return a
}

func (a *authority) certify(t testing.TB, key *ecdsa.PublicKey, isCA bool, now time.Time) *x509.Certificate {
	template := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "tokens"}, IsCA: isCA, BasicConstraintsValid: true,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	parent := a.cert
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, a.key)
	check(t, err)
	cert, err := x509.ParseCertificate(der)
	check(t, err)
	return cert
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// A passport is shown at b, by a machine that only another attested.
func (b *bench) show(m *machine, token string) (int, []byte) {
	m.cookie, m.token = nil, token
	return m.call("GET", "/kbs/v0/resource/default/key/x", nil)
}

func kidOf(t testing.TB, key crypto.PublicKey) string {
	kid, err := KeyID(key)
	check(t, err)
	return kid
}

func TestPassportOfATrustedVerifierCounts(t *testing.T) {
	var issuers []Issuer
	ca := newAuthority(t, time.Now())
	key := newKey(t)
	verifier := newBench(t, func(c *Config) {
		c.Issuer = "https://verifier.example"
		c.TokenKeys = fixed(TokenKey{Signer: key, Chain: []*x509.Certificate{ca.certify(t, &key.PublicKey, false, time.Now())}})
	})
	b := newBench(t, func(c *Config) { c.Issuers = func() []Issuer { return issuers } })
	b.furnish()
	verifier.furnish()
	m := verifier.machine()
	m.auth()
	m.attest()
	at := &machine{b: b, key: m.key}
	byKeys := Issuer{Name: "https://verifier.example", Keys: map[string]crypto.PublicKey{kidOf(t, key.Public()): key.Public()}}
	byRoots := Issuer{Name: "https://verifier.example", Roots: ca.pool()}
	for _, c := range []struct {
		trusted []Issuer
		want    string
	}{
		{nil, `its issuer is "https://verifier.example", not "holdfast" nor another that this broker trusts`},
		{[]Issuer{{Name: "https://other.example", Keys: byKeys.Keys}}, "its issuer is"},
		{[]Issuer{{Name: byKeys.Name, Roots: newAuthority(t, time.Now()).pool()}}, "no root of the issuer \"https://verifier.example\" vouches for its key"},
		{[]Issuer{{Name: byKeys.Name, Keys: map[string]crypto.PublicKey{"other": &newKey(t).PublicKey}}}, "which has no key"},
		{[]Issuer{{Name: byKeys.Name, Keys: map[string]crypto.PublicKey{kidOf(t, key.Public()): &newKey(t).PublicKey}}}, "it was not signed by the issuer"},
		{[]Issuer{byKeys}, ""},
		{[]Issuer{byRoots}, ""},
	} {
		issuers = c.trusted
		status, body := b.show(at, m.token)
		if c.want != "" {
			wantProblem(t, status, body, http.StatusUnauthorized, kindToken, c.want)
		} else if status != http.StatusOK || at.open(body) != "the key" {
			t.Errorf("trusted: got %d %s", status, body)
		}
	}
	if e := b.lastEntry(); e.Subject != "token of https://verifier.example" || e.Session == "" {
		t.Errorf("got audit entry %+v", e)
	}
	check(t, b.admin.SetResourcePolicy(t.Context(), []byte("package policy\nimport rego.v1\ndefault allow := false\nallow if input.iss == \"holdfast\"\nreasons contains \"no passports here\" if input.iss != \"holdfast\"")))
	status, body := b.show(at, m.token)
	wantProblem(t, status, body, http.StatusForbidden, kindDenied, "no passports here")
}

// A release to a machine that another verifier attested has a proof, too, of what
// the broker went by: that one's token. The reader says whose tokens he takes.
func TestTheProofOfAPassportVerifies(t *testing.T) {
	key := newKey(t)
	verifier := newBench(t, func(c *Config) {
		c.Issuer, c.TokenKeys = "https://verifier.example", fixed(TokenKey{Signer: key})
	})
	trusted := []Issuer{{Name: "https://verifier.example", Keys: map[string]crypto.PublicKey{kidOf(t, key.Public()): key.Public()}}}
	ring, prove := proving(t)
	b := newBench(t, func(c *Config) {
		prove(c)
		c.Issuers = func() []Issuer { return trusted }
	})
	verifier.furnish()
	check(t, b.admin.Trust(t.Context(), signedReference(t, ring, guestValues)))
	check(t, b.admin.Allow(t.Context(), initDataDigest, []string{"default/key/x"}))
	check(t, b.admin.SetResource(t.Context(), "default/key/x", []byte("the key")))
	m := verifier.machine()
	m.auth()
	m.attest()
	at := &machine{b: b, key: m.key}
	if status, body := b.show(at, m.token); status != http.StatusOK || at.open(body) != "the key" {
		t.Fatalf("got %d %s", status, body)
	}
	list := b.proofs()
	if len(list) != 1 || list[0].Configuration != initDataDigest || b.lastEntry().Proof != list[0].ID {
		t.Fatalf("got %+v, want the one proof that the log names", list)
	}
	raw, err := b.admin.Proof(t.Context(), list[0].ID)
	check(t, err)
	by := func(trusted []Issuer) func(string, time.Time) (*proof.Passport, error) {
		return func(token string, at time.Time) (*proof.Passport, error) { return OpenPassport(token, trusted, at) }
	}
	other, m2 := newKey(t), verifier.machine()
	m2.auth()
	m2.attest()
	for name, c := range map[string]struct {
		change    func(*api.ReleaseProof)
		passports func(string, time.Time) (*proof.Passport, error)
		want      string
	}{
		"as it is":             {nil, by(trusted), ""},
		"nobody is trusted":    {nil, nil, "the reader named nobody whose tokens he takes"},
		"another is trusted":   {nil, by([]Issuer{{Name: "https://other.example"}}), "whose tokens the reader does not take"},
		"by another key":       {nil, by([]Issuer{{Name: "https://verifier.example", Keys: map[string]crypto.PublicKey{"": other.Public()}}}), "it was not signed by"},
		"in another's name":    {func(p *api.ReleaseProof) { p.Passport.Issuer = "https://other.example" }, by(trusted), "names another issuer"},
		"another's session":    {func(p *api.ReleaseProof) { p.Passport.Session = "0000000000000000" }, by(trusted), "names another issuer or session"},
		"a day later":          {func(p *api.ReleaseProof) { p.Release.Time = p.Release.Time.AddDate(0, 0, -1) }, by(trusted), "which is yet to come"},
		"another machine's":    {func(p *api.ReleaseProof) { p.Passport.Token = m2.token }, by(trusted), "names another issuer or session"},
		"of another resource":  {func(p *api.ReleaseProof) { p.Release.Resource = "default/key/y" }, by(trusted), "is not what the proof shows"},
		"with an attestation":  {func(p *api.ReleaseProof) { p.Attestation.TEE = "tpm" }, by(trusted), "it has an attestation and another verifier's"},
		"on other claims":      {func(p *api.ReleaseProof) { p.Release.Policy.Input = []byte(`{"iss":"holdfast"}`) }, by(trusted), "is not what the evidence leads to"},
		"and neither of these": {func(p *api.ReleaseProof) { p.Passport = nil }, by(trusted), "cannot be judged by this program"},
	} {
		signed := raw
		if c.change != nil {
			p, err := proof.Peek(raw)
			check(t, err)
			c.change(p)
			signed, err = proof.Seal(*p, ring.Releases())
			check(t, err)
		}
		r, err := proof.Verify(t.Context(), signed, proof.Reader{Roots: ring.RootPool(), Hardware: []attest.Verifier{fakeVerifier{}}, Passports: c.passports, At: time.Now()})
		check(t, err)
		bad := r.Failures()
		if c.want == "" {
			if !r.Verified || r.Release.Issuer != "https://verifier.example" || r.Release.Configuration != initDataDigest || len(proof.Word([]*proof.Report{r})) != len(proof.Word(nil))+1 {
				t.Errorf("%s: got %+v, %+v", name, r.Release, r.Checks)
			}
		} else if r.Verified || len(bad) == 0 || !strings.Contains(bad[0].Text, c.want) {
			t.Errorf("%s: got verified %v, %+v; want %q", name, r.Verified, bad, c.want)
		}
	}
}

// forge signs claims with header fields of an attacker's choice.
func forge(t testing.TB, alg jose.SignatureAlgorithm, key any, claims map[string]any, headers map[jose.HeaderKey]any) string {
	t.Helper()
	options := &jose.SignerOptions{}
	for name, value := range headers {
		options = options.WithHeader(name, value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	check(t, err)
	raw, err := json.Marshal(claims)
	check(t, err)
	signed, err := signer.Sign(raw)
	check(t, err)
	token, err := signed.CompactSerialize()
	check(t, err)
	return token
}

func TestTokenAttacksAreNamed(t *testing.T) {
	ca := newAuthority(t, time.Now())
	own, stranger := newKey(t), newKey(t)
	const friend = "https://verifier.example"
	b := newBench(t, func(c *Config) {
		c.TokenKeys = fixed(TokenKey{Signer: own})
		c.Issuers = func() []Issuer { return []Issuer{{Name: friend, Roots: ca.pool()}} }
	})
	b.furnish()
	m := b.machine()
	m.auth()
	m.attest()
	v, err := b.tokens.verify(m.token)
	check(t, err)
	with := func(name string, value any) map[string]any {
		claims := map[string]any{}
		for k, v := range v.claims {
			claims[k] = v
		}
		claims[name] = value
		return claims
	}
	now, ownKid := b.now.Now().Unix(), kidOf(t, own.Public())
	leaf := ca.certify(t, &stranger.PublicKey, false, time.Now())
	foreignLeaf := newAuthority(t, time.Now()).certify(t, &stranger.PublicKey, false, time.Now())
	jwk := func(key crypto.PublicKey, chain ...*x509.Certificate) jose.JSONWebKey {
		return jose.JSONWebKey{Key: key, Algorithm: "ES256", Certificates: chain}
	}
	point, err := own.PublicKey.Bytes()
	check(t, err)
	payload, err := json.Marshal(v.claims)
	check(t, err)
	parts := strings.Split(m.token, ".")
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	check(t, err)
	for name, c := range map[string]struct{ token, want string }{
		"as it was":              {m.token, ""},
		"signed anew":            {forge(t, jose.ES256, own, v.claims, nil), ""},
		"alg none":               {base64url([]byte(`{"alg":"none"}`)) + "." + base64url(payload) + ".", "it is no token signed by a public key"},
		"alg nOnE":               {base64url([]byte(`{"alg":"nOnE"}`)) + "." + base64url(payload) + ".", "it is no token signed by a public key"},
		"no signature":           {parts[0] + "." + parts[1] + ".", "it was not signed by this broker"},
		"HMAC by the public key": {forge(t, jose.HS256, point, v.claims, nil), "it is no token signed by a public key"},
		"other curve":            {forge(t, jose.ES384, p384, v.claims, nil), "it was not signed by this broker"},
		"another's key":          {forge(t, jose.ES256, stranger, v.claims, nil), "it was not signed by this broker"},
		"key in the header":      {forge(t, jose.ES256, stranger, v.claims, map[jose.HeaderKey]any{"jwk": jwk(stranger.Public())}), "for the key in its header nobody vouches but the token itself"},
		"our key in the header":  {forge(t, jose.ES256, stranger, v.claims, map[jose.HeaderKey]any{"jwk": jwk(own.Public()), "kid": ownKid}), "it was not signed by this broker"},
		"our kid":                {forge(t, jose.ES256, stranger, v.claims, map[jose.HeaderKey]any{"kid": ownKid}), "it was not signed by this broker"},
		"kid climbs":             {forge(t, jose.ES256, own, v.claims, map[jose.HeaderKey]any{"kid": "../../../dev/null"}), `which has no key "../../../dev/null"`},
		"kid asks":               {forge(t, jose.ES256, own, v.claims, map[jose.HeaderKey]any{"kid": "' OR 1=1 --"}), "which has no key"},
		"jku":                    {forge(t, jose.ES256, stranger, v.claims, map[jose.HeaderKey]any{"jku": "http://127.0.0.1:1/jwks"}), "it was not signed by this broker"},
		"typ":                    {forge(t, jose.ES256, own, v.claims, map[jose.HeaderKey]any{"typ": "at+jwt"}), `its type is "at+jwt", not JWT`},
		"crit":                   {forge(t, jose.ES256, own, v.claims, map[jose.HeaderKey]any{"crit": []string{"x"}, "x": 1}), "it was not signed by this broker"},
		"expired":                {forge(t, jose.ES256, own, with("exp", now-1), nil), "it expired at"},
		"expires now":            {forge(t, jose.ES256, own, with("exp", now), nil), "it expired at"},
		"never expires":          {forge(t, jose.ES256, own, with("exp", 0), nil), "it never expires"},
		"not yet":                {forge(t, jose.ES256, own, with("nbf", now+3600), nil), "it is not good before"},
		"made tomorrow":          {forge(t, jose.ES256, own, with("iat", now+86400), nil), "which is yet to come"},
		"other issuer":           {forge(t, jose.ES256, own, with("iss", "https://evil.example"), nil), `its issuer is "https://evil.example"`},
		"no issuer":              {forge(t, jose.ES256, own, with("iss", ""), nil), `its issuer is ""`},
		"friend's name":          {forge(t, jose.ES256, stranger, with("iss", friend), nil), "it was not signed by the issuer"},
		"friend's name, our key": {forge(t, jose.ES256, own, with("iss", friend), nil), "it was not signed by the issuer"},
		"friend's chain, ours":   {forge(t, jose.ES256, stranger, v.claims, map[jose.HeaderKey]any{"jwk": jwk(stranger.Public(), leaf)}), "it was not signed by this broker"},
		"chain to another root":  {forge(t, jose.ES256, stranger, with("iss", friend), map[jose.HeaderKey]any{"jwk": jwk(stranger.Public(), foreignLeaf)}), "vouches for its key: x509"},
		"x5c to another root":    {forge(t, jose.ES256, stranger, with("iss", friend), map[jose.HeaderKey]any{"x5c": [][]byte{foreignLeaf.Raw}}), "vouches for its key: x509"},
		"chain of another key":   {forge(t, jose.ES256, own, with("iss", friend), map[jose.HeaderKey]any{"x5c": [][]byte{leaf.Raw}}), "it was not signed by the issuer"},
		"friend's chain":         {forge(t, jose.ES256, stranger, with("iss", friend), map[jose.HeaderKey]any{"jwk": jwk(stranger.Public(), leaf)}), ""},
		"friend's x5c":           {forge(t, jose.ES256, stranger, with("iss", friend), map[jose.HeaderKey]any{"x5c": [][]byte{leaf.Raw}}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := b.show(&machine{b: b, key: m.key}, c.token)
			if c.want != "" {
				wantProblem(t, status, body, http.StatusUnauthorized, kindToken, c.want)
			} else if status != http.StatusOK {
				t.Errorf("got %d %s", status, body)
			}
		})
	}
}

// TestChainsAreJudgedAsByTrustee takes its own cases.
func TestChainsAreJudgedAsByTrustee(t *testing.T) {
	for n, want := range map[int]bool{1: true, 2: false, 3: false, 4: false, 5: true, 6: true, 7: true} {
		raw, err := os.ReadFile(fmt.Sprintf("testdata/trustee/scenario%02d-jwk.json", n))
		check(t, err)
		roots := x509.NewCertPool()
		trust, err := os.ReadFile(fmt.Sprintf("testdata/trustee/scenario%02d-trust.pem", n))
		check(t, err)
		if !roots.AppendCertsFromPEM(trust) {
			t.Fatal("no roots")
		}
		var jwk jose.JSONWebKey
		err = jwk.UnmarshalJSON(raw)
		var key crypto.PublicKey
		if err == nil {
			key, err = Issuer{Roots: roots}.vouched(&unverified{header: jose.Header{JSONWebKey: &jwk}}, time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC))
		}
		if got := err == nil && key != nil; got != want {
			t.Errorf("scenario %d: got %t, %v; want %t", n, got, err, want)
		}
	}
}

func TestTokensOutliveTheRotationOfTheirKey(t *testing.T) {
	first, second := newKey(t), newKey(t)
	keys := TokenKeys{Current: TokenKey{Signer: first}}
	b := newBench(t, func(c *Config) { c.TokenKeys = func() TokenKeys { return keys } })
	b.furnish()
	m := b.machine()
	m.auth()
	m.attest()
	keys = TokenKeys{Current: TokenKey{Signer: second}, Retired: []RetiredKey{{&first.PublicKey, b.now.Now().Add(10 * time.Minute)}}}
	later := b.machine()
	later.auth()
	later.attest()
	for _, path := range []string{"/kbs/v0/holdfast/jwks", "/.well-known/jwks.json"} {
		var set jose.JSONWebKeySet
		status, body := b.machine().call("GET", path, nil)
		if err := json.Unmarshal(body, &set); err != nil || status != http.StatusOK || len(set.Keys) != 2 {
			t.Fatalf("got %d %s, %v", status, body, err)
		}
		for _, token := range []string{m.token, later.token} {
			signed, err := jose.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
			check(t, err)
			found := set.Key(signed.Signatures[0].Header.KeyID)
			if len(found) != 1 || !found[0].IsPublic() {
				t.Fatalf("the set has %d keys of the token", len(found))
			}
			if _, err := signed.Verify(found[0]); err != nil {
				t.Error(err)
			}
		}
	}
	for _, m := range []*machine{m, later} {
		if status, body := b.show(m, m.token); status != http.StatusOK {
			t.Errorf("got %d %s", status, body)
		}
	}
	check(t, func() error { _, err := b.tokens.issue(ear.Result{TEE: "tpm"}); return err }())
	keys.Retired[0].Until = b.now.Now()
	status, body := b.show(m, m.token)
	wantProblem(t, status, body, http.StatusUnauthorized, kindToken, "it was not signed by this broker, which has no key")
	if status, _ := b.show(later, later.token); status != http.StatusOK {
		t.Error("the key that signs now is not taken")
	}
}
