package broker

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/ear"
	"holdfast/internal/attest/initdata"
)

// Fixed keys and clock, so that inputs that were found stay good.
var (
	fuzzNow   = time.Unix(1_800_000_000, 0)
	fuzzAdmin = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize))
)

func fuzzToken(f *testing.F) *ecdsa.PrivateKey {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), big.NewInt(9).FillBytes(make([]byte, 32)))
	if err != nil {
		f.Fatal(err)
	}
	return key
}

func fuzzBroker(f *testing.F) *Broker {
	dir, now := filepath.Join(f.TempDir(), "broker"), func() time.Time { return fuzzNow }
	b, err := New(Config{
		Dir: dir, State: openTestState(f, dir, now), TokenKey: fuzzToken(f), AdminKeys: []crypto.PublicKey{fuzzAdmin.Public()}, Audience: "this broker", PlainAdminTokens: true,
		Verifiers: []attest.Verifier{fakeVerifier{}}, Now: now,
		VerifyReference: func(envelope []byte) (*api.ReferenceValues, error) {
			var values api.ReferenceValues
			return &values, json.Unmarshal(envelope, &values)
		},
	})
	if err != nil {
		f.Fatal(err)
	}
	return b
}

var methods = []string{http.MethodPost, http.MethodGet, http.MethodDelete, http.MethodPut}

// ask sends a request of fuzzed parts; it is nil when no client could.
func ask(method uint8, path string, body []byte, token string) *http.Request {
	u, err := url.ParseRequestURI(api.KBSPrefix + path)
	if err != nil {
		return nil
	}
	r := httptest.NewRequest(methods[int(method)%len(methods)], "/", bytes.NewReader(body))
	r.URL, r.RequestURI = u, ""
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// checkAnswer wants an answer, or a problem that says what it is.
func checkAnswer(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code >= 500 {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	var p api.ErrorInformation
	if w.Code >= 400 && w.Code != http.StatusMethodNotAllowed && (json.Unmarshal(w.Body.Bytes(), &p) != nil || p.Detail == "") {
		t.Errorf("status %d with %q, want a problem", w.Code, w.Body)
	}
}

// A stranger gets a challenge and nothing else, whatever is sent.
//
//fuzz:parser broker.go:handle,ServeHTTP handshake.go:readBody,postAuth,parseRequest,postAttest,offered admin.go:administrator,fits,bound,once
func FuzzStranger(f *testing.F) {
	b := fuzzBroker(f)
	f.Add(uint8(0), "/auth", []byte(`{"version":"0.4.0","tee":"tpm","extra-params":{"tpm-activation":{"ak-public":"AAA="}}}`), "", "")
	f.Add(uint8(0), "/attest", []byte(`{}`), "", "kbs-session-id=0123")
	f.Add(uint8(1), "/resource/default/key/x", []byte(nil), "e30.e30.e30", "")
	f.Add(uint8(0), "/resource/a/b/..%2f..%2fc", []byte("x"), "e30.e30.e30", "")
	f.Add(uint8(2), "/holdfast/configurations/sha256:00", []byte(nil), "", "")
	f.Fuzz(func(t *testing.T, method uint8, path string, body []byte, token, cookie string) {
		r := ask(method, path, body, token)
		if r == nil {
			return
		}
		r.Header.Set("Cookie", cookie)
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		checkAnswer(t, w)
		if w.Code == http.StatusOK && r.URL.Path != api.KBSPrefix+"/auth" {
			t.Errorf("%s %s was answered: %s", r.Method, r.URL, w.Body)
		}
	})
}

// An administrator's requests are done or refused with a reason, and leave a
// store that can be read.
//
//fuzz:parser adminapi.go:readJSON,setPolicy,trustImage,authoriseConfiguration,withdrawConfiguration,distrustImage state.go:parseDigest,sortedResources rules.go:readConfigurations,readEach,readReferences,readPolicies
func FuzzAdministrator(f *testing.F) {
	b := fuzzBroker(f)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: fuzzAdmin}, nil)
	if err != nil {
		f.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(map[string]any{"role": "admin", "exp": fuzzNow.Add(time.Hour).Unix()}).Serialize()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint8(0), "/holdfast/configurations", []byte(`{"digest":"`+initDataDigest+`","resources":["default/key/x","kbs:///default/key/y"]}`))
	f.Add(uint8(2), "/holdfast/configurations/"+initDataDigest, []byte(nil))
	f.Add(uint8(0), "/resource-policy", []byte(`{"policy":"cGFja2FnZSBwb2xpY3kKZGVmYXVsdCBhbGxvdyA9IGZhbHNl"}`))
	f.Add(uint8(0), "/resource/default/key/x", []byte("secret"))
	f.Add(uint8(0), "/resource/%2e%2e/key/x", []byte("secret"))
	f.Add(uint8(0), "/reference-value", []byte(`{"image":"guest"}`))
	f.Add(uint8(1), "/reference-value/sha256:00", []byte(nil))
	f.Fuzz(func(t *testing.T, method uint8, path string, body []byte) {
		r := ask(method, path, body, token)
		if r == nil {
			return
		}
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		checkAnswer(t, w)
		rules, err := b.rules(t.Context())
		if err != nil {
			t.Fatalf("configurations cannot be read any more: %v", err)
		}
		for _, c := range rules.configurations {
			for _, resource := range c.Resources {
				if again, err := ParseResource(resource); err != nil || string(again) != resource {
					t.Errorf("configuration %s may have %q", c.Digest, resource)
				}
			}
		}
		if _, err := b.state.Resources(t.Context()); err != nil {
			t.Errorf("resources cannot be read any more: %v", err)
		}
	})
}

//fuzz:parser path.go
func FuzzParseResource(f *testing.F) {
	f.Add("kbs:///default/key/x")
	f.Add("kbs:///default/key/%2e%2e")
	f.Add("../../etc")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseResource(text)
		if err != nil {
			return
		}
		if !filepath.IsLocal(string(r)) || filepath.Clean(string(r)) != string(r) || strings.Count(string(r), "/") != 2 {
			t.Errorf("%q became %q", text, r)
		}
		if again, err := ParseResource("kbs:///" + string(r)); err != nil || again != r {
			t.Errorf("%q reads back as %q, %v", r, again, err)
		}
	})
}

//fuzz:parser handshake.go:parseRequest
func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(`{"version":"0.4.0","tee":"tpm","extra-params":{"tpm-activation":{"ak-public":"AAA="}}}`))
	f.Add([]byte(`{"version":"0.4.0","tee":"tpm","extra-params":""}`))
	f.Add([]byte(`{"version":"0.4.0-rc1","tee":"tpm"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		request, params, err := parseRequest(body)
		if err == nil && (params == nil || request.Version != "0.4.0" && !strings.HasPrefix(request.Version, "0.4.0+")) {
			t.Errorf("got %+v, %+v", request, params)
		}
	})
}

// An attestation that is taken answers the nonce, has a usable key and the
// digest of exactly the document that was sent.
//
//fuzz:parser handshake.go:parseAttestation initdata.go
func FuzzParseAttestation(f *testing.F) {
	_, jwk := ecJWK(f, elliptic.P256(), "P-256")
	good, _ := json.Marshal(api.KBSAttestation{
		InitData:    &api.InitDataMessage{Format: "toml", Body: initDataBody},
		RuntimeData: api.RuntimeData{Nonce: "n", TEEPubKey: jwk},
		TEEEvidence: api.CompositeEvidence{Primary: json.RawMessage("{}")},
	})
	f.Add(good)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := parseAttestation(body, "n", &documents{})
		if err != nil {
			return
		}
		if len(a.digest) != 48 || a.RuntimeData.Nonce != "n" {
			t.Errorf("got %+v", a)
		}
		if _, err := parseTEEKey(a.RuntimeData.TEEPubKey); err != nil {
			t.Errorf("accepted with a key that is none: %v", err)
		}
		if a.initData != nil {
			checkInitData(t, a.initData, a.InitData.Body)
		}
	})
}

func checkInitData(t *testing.T, d *initdata.Document, body string) {
	sum := sha256.Sum256([]byte(body))
	if d.Algorithm == "sha256" && !bytes.Equal(d.Sum, sum[:]) || d.Digest != digestOf([]byte(body)) {
		t.Errorf("digest %s is not the document's", d.Digest)
	}
	if command := allowDocument(d); strings.ContainsAny(command, "$`;&|<>\n'\"\\*?(){}!#~") {
		t.Errorf("got a command that must not be pasted: %q", command)
	}
}

// A token that is believed carries our signature over what it says.
//
//fuzz:parser token.go:verify,readToken,signedBy,timely passport.go:foreign,signed,vouched,vouchedKey,suits
func FuzzVerifyToken(f *testing.F) {
	m := &tokenMaker{keys: fixed(TokenKey{Signer: fuzzToken(f)}), issuer: "holdfast", life: time.Minute, now: func() time.Time { return fuzzNow }}
	good, err := m.issue(ear.Result{Session: "0123", TEE: "tpm", Runtime: api.RuntimeData{Nonce: "n", TEEPubKey: json.RawMessage(fixedJWK)}})
	if err != nil {
		f.Fatal(err)
	}
	m.issuers = func() []Issuer { return []Issuer{{Name: "friend", Roots: x509.NewCertPool()}} }
	parts := strings.Split(good, ".")
	f.Add(good)
	chain, err := os.ReadFile("testdata/trustee/scenario05-jwk.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(base64url([]byte(`{"alg":"RS256","jwk":`+string(chain)+`}`)) + "." + base64url([]byte(`{"iss":"friend"}`)) + ".AA")
	f.Add("a.b.c")
	f.Add(parts[0] + "." + parts[1] + ".")
	f.Add("eyJhbGciOiJub25lIn0." + parts[1] + ".")
	broken := strings.NewReplacer("\r", "", "\n", "") // base64 skips them, and no HTTP header has any
	f.Fuzz(func(t *testing.T, token string) {
		v, err := m.verify(token)
		token = broken.Replace(token)
		if err == nil && (v.session != "0123" || strings.Split(token, ".")[1] != parts[1]) {
			t.Errorf("a token that was never issued was accepted: %q", token)
		}
	})
}

// fixedJWK is RFC 7517's, appendix A.1, with the algorithm that machines announce.
const fixedJWK = `{"kty":"EC","alg":"ECDH-ES+A256KW","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}`

// A token whose payload is ours to choose: the claims are judged, signed or not.
//
//fuzz:parser token.go:verify
func FuzzTokenClaims(f *testing.F) {
	key := fuzzToken(f)
	m := &tokenMaker{keys: fixed(TokenKey{Signer: key}), issuer: "holdfast", now: func() time.Time { return fuzzNow }}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"iss":"holdfast","exp":1800000060,"jti":"s","submods":{"cpu0":{"ear.veraison.annotated-evidence":{"runtime_data_claims":{"tee-pubkey":` + fixedJWK + `}}}}}`))
	f.Add([]byte(`{"iss":"holdfast","exp":1e99}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		signed, err := signer.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		token, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		v, err := m.verify(token)
		if err != nil {
			return
		}
		if _, err := v.key.seal([]byte("x")); err != nil {
			t.Errorf("its key cannot be used: %v", err)
		}
	})
}

//fuzz:parser jwe.go
func FuzzParseTEEKey(f *testing.F) {
	_, good := ecJWK(f, elliptic.P256(), "P-256")
	_, oaep := rsaJWK(f)
	f.Add([]byte(good))
	f.Add([]byte(oaep))
	f.Add([]byte(`{"kty":"RSA","alg":"RSA-OAEP-256","n":"AQAB","e":"AQAB"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		key, err := parseTEEKey(raw)
		if err != nil {
			return
		}
		s, err := key.seal([]byte("x"))
		if err != nil {
			t.Fatalf("a key that was accepted cannot be used: %v", err)
		}
		text, _ := json.Marshal(s)
		if _, err := jose.ParseEncryptedJSON(string(text), []jose.KeyAlgorithm{jose.ECDH_ES_A256KW, jose.RSA_OAEP_256}, []jose.ContentEncryption{jose.A256GCM}); err != nil {
			t.Errorf("go-jose cannot read what was sealed: %v", err)
		}
	})
}
