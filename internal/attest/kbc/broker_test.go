package kbc_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/kbc"
)

// attester proves by repeating the digest; the real ones have tests of their
// own.
type attester struct{}

func (attester) TEE() string { return "tpm" }

func (attester) Offer(context.Context) (*api.ActivationOffer, error) {
	return &api.ActivationOffer{AKPublic: []byte("ak")}, nil
}

func (attester) Evidence(_ context.Context, digest []byte, c *api.ActivationChallenge) (json.RawMessage, error) {
	if c == nil || string(c.CredentialBlob) != "blob" {
		return nil, fmt.Errorf("challenge is %v", c)
	}
	return json.Marshal(hex.EncodeToString(digest))
}

// A broker answers as the KBS of the Confidential Containers project does; the
// one of this project is tested against this client where it lives.
type broker struct {
	*httptest.Server
	t         *testing.T
	key       json.RawMessage // of the attested client
	handshake atomic.Int32
	fetches   atomic.Int32
	// intercept answers a request instead of the broker, when it returns true.
	intercept func(http.ResponseWriter, *http.Request) bool
}

const nonce = "YSBub25jZSBvZiAzMiBieXRlcywgYXMgYmFzZTY0"

var initData = []byte("version = \"0.1.0\"\n")

func newBroker(t *testing.T) *broker {
	b := &broker{t: t}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /kbs/v0/auth", b.auth)
	mux.HandleFunc("POST /kbs/v0/attest", b.attest)
	mux.HandleFunc("GET /kbs/v0/resource/default/key/{tag}", b.resource)
	b.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.intercept == nil || !b.intercept(w, r) {
			mux.ServeHTTP(w, r)
		}
	}))
	b.Config.ErrorLog = nil
	t.Cleanup(b.Close)
	return b
}

// client trusts the broker's certificate and no other.
func (b *broker) client(t *testing.T) *kbc.Client {
	t.Helper()
	c, err := kbc.New(kbc.Config{URL: b.URL, HTTP: b.Server.Client(), Attester: attester{}, InitData: initData})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (b *broker) auth(w http.ResponseWriter, r *http.Request) {
	b.handshake.Add(1)
	var request api.KBSRequest
	var params api.RequestParams
	b.read(r, &request)
	if err := json.Unmarshal(request.ExtraParams, &params); err != nil {
		b.t.Error(err)
	}
	if request.Version != "0.4.0" || request.TEE != "tpm" || string(params.Activation.AKPublic) != "ak" {
		b.t.Errorf("request is %+v with %+v", request, params)
	}
	http.SetCookie(w, &http.Cookie{Name: "kbs-session-id", Value: "session"})
	b.write(w, map[string]any{"nonce": nonce, "extra-params": api.ChallengeParams{
		SelectedHashAlgorithm: "sha384",
		Activation:            &api.ActivationChallenge{CredentialBlob: []byte("blob")},
	}})
}

func (b *broker) attest(w http.ResponseWriter, r *http.Request) {
	var a api.KBSAttestation
	b.read(r, &a)
	if c, err := r.Cookie("kbs-session-id"); err != nil || c.Value != "session" {
		b.t.Errorf("cookie is %v, %v", c, err)
	}
	digest, err := attest.RuntimeDigest(a.RuntimeData, a.TEEEvidence.Additional)
	if err != nil {
		b.t.Error(err)
	}
	var evidence string
	if err := json.Unmarshal(a.TEEEvidence.Primary, &evidence); err != nil || evidence != hex.EncodeToString(digest) {
		b.t.Errorf("evidence is %s, want %x (%v)", a.TEEEvidence.Primary, digest, err)
	}
	if a.RuntimeData.Nonce != nonce || a.InitData.Format != "toml" || a.InitData.Body != string(initData) {
		b.t.Errorf("attestation is %+v", a)
	}
	b.key = a.RuntimeData.TEEPubKey
	b.write(w, api.KBSToken{Token: fmt.Sprint("token-", b.handshake.Load())})
}

func (b *broker) resource(w http.ResponseWriter, r *http.Request) {
	b.fetches.Add(1)
	if r.Header.Get("Authorization") != fmt.Sprint("Bearer token-", b.handshake.Load()) {
		refuse(w, http.StatusUnauthorized, "TokenNotFound", "Attestation Token not found")
		return
	}
	switch r.PathValue("tag") {
	case "denied":
		refuse(w, http.StatusUnauthorized, "PolicyDeny", "Access denied by policy")
	case "absent":
		refuse(w, http.StatusNotFound, "PluginNotFound", "no such resource")
	default:
		_, _ = w.Write([]byte(seal(b.t, b.key, secretOf(r.PathValue("tag")))))
	}
}

func secretOf(tag string) []byte {
	sum := sha256.Sum256([]byte(tag))
	return sum[:]
}

// seal encrypts to a TEE key by go-jose's encrypting half.
func seal(t *testing.T, key json.RawMessage, data []byte) string {
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(key); err != nil {
		t.Error(err)
		return ""
	}
	e, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.ECDH_ES_A256KW, Key: jwk.Key}, nil)
	if err != nil {
		t.Error(err)
		return ""
	}
	jwe, err := e.Encrypt(data)
	if err != nil {
		t.Error(err)
		return ""
	}
	return jwe.FullSerialize()
}

func refuse(w http.ResponseWriter, status int, kind, detail string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(api.ErrorInformation{Type: api.ProblemPrefix + kind, Detail: detail})
}

func (b *broker) read(r *http.Request, v any) {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		b.t.Errorf("%s: %v", r.URL.Path, err)
	}
}

func (b *broker) write(w http.ResponseWriter, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		b.t.Error(err)
	}
}
