package broker

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/json"
	"io"
	"net/http"

	"github.com/go-jose/go-jose/v4"

	"holdfast/internal/api"
	"holdfast/internal/attest"
)

// A machine is the other side of the protocol, step by step.
type machine struct {
	b        *bench
	key      *ecdsa.PrivateKey
	cookie   *http.Cookie
	nonce    string
	token    string
	initData string
	pcrs     map[string]string
	offer    []byte      // an endorsement certificate
	header   http.Header // of the last answer
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
	m.header = resp.Header
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
		"extra-params": map[string]any{"supported-hash-algorithms": []string{"sha384"}, "tpm-activation": api.ActivationOffer{EKCertificate: m.offer}},
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
	m.take(status, body)
}

func (m *machine) open(body []byte) string {
	m.b.t.Helper()
	jwe, err := jose.ParseEncryptedJSON(string(body), []jose.KeyAlgorithm{jose.ECDH_ES_A256KW}, []jose.ContentEncryption{jose.A256GCM})
	check(m.b.t, err)
	value, err := jwe.Decrypt(m.key)
	check(m.b.t, err)
	return string(value)
}

// take keeps the token of an attestation that was believed.
func (m *machine) take(status int, body []byte) {
	m.b.t.Helper()
	var token api.KBSToken
	if err := json.Unmarshal(body, &token); err != nil || status != http.StatusOK {
		m.b.t.Fatalf("attest: %d %s", status, body)
	}
	m.token = token.Token
}
