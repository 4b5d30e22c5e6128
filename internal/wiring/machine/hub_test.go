package machine

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/kbc"
	"holdfast/internal/attest/tpm"
)

// get asks as a workload does.
func (b *bench) get(target string) (int, string) {
	r := httptest.NewRequest("GET", target, nil)
	r.RemoteAddr = "127.0.0.1:40000"
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestAWorkloadIsGivenWhatItsMachineMayHave(t *testing.T) {
	b := newBench(t, api.APIResource, api.APIAttestation)
	if status, got := b.get("/cdh/resource/" + ownResource); status != 200 || got != "the workload's own" {
		t.Errorf("its own: got %d %q", status, got)
	}
	for target, want := range map[string]string{
		"/cdh/resource/default/secret/other":   "default/secret/other",
		"/cdh/resource/default/secret/absent":  "default/secret/absent",
		"/cdh/resource/default/secret/../own":  "expected kbs:///REPOSITORY/TYPE/TAG",
		"/cdh/resource/default/secret/own/own": "expected kbs:///REPOSITORY/TYPE/TAG",
		"/cdh/resource//secret/own":            "expected kbs:///REPOSITORY/TYPE/TAG",
	} {
		if status, got := b.get(target); status != 500 || !strings.Contains(got, want) {
			t.Errorf("%s: got %d %q, want a refusal with %q", target, status, got, want)
		}
	}
	if status, got := b.get("/info"); status != 200 || !strings.Contains(got, `"tee":"tpm"`) {
		t.Errorf("info: got %d %s", status, got)
	}
}

// A token is the broker's, and bound to a key that opens nothing that was given
// to another client of the machine.
func TestATokenIsForItsOwnKeyAlone(t *testing.T) {
	b := newBench(t, api.APIResource, api.APIAttestation)
	var first, second struct {
		Token string `json:"token"`
		Key   string `json:"tee_keypair"`
	}
	for _, to := range []any{&first, &second} {
		status, got := b.get("/aa/token?token_type=kbs")
		if err := json.Unmarshal([]byte(got), to); status != 200 || err != nil {
			t.Fatalf("got %d %s, %v", status, got, err)
		}
	}
	if first != second {
		t.Error("a token that is good for long was not given again")
	}
	if !strings.HasPrefix(first.Key, "-----BEGIN PRIVATE KEY-----\n") || strings.Count(first.Token, ".") != 2 {
		t.Errorf("got %+v", first)
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(first.Token, ".")[1])
	check(t, err)
	if !strings.Contains(string(raw), `"exp"`) {
		t.Errorf("claims are %s", raw)
	}
}

// forger is a workload that has a machine's evidence made for a key of its own,
// by all that the API gives it.
type forger struct {
	*bench
	change func(evidence map[string]any, digest []byte)
}

func (f forger) TEE() string { return "tpm" }

// Offer names the machine's TPM: its certificate is no secret.
func (f forger) Offer(ctx context.Context) (*api.ActivationOffer, error) {
	return f.attester.Offer(ctx)
}

func (f forger) Evidence(_ context.Context, digest []byte, _ *api.ActivationChallenge) (json.RawMessage, error) {
	status, got := f.get("/aa/evidence?encoding=base64&runtime_data=" + base64.RawURLEncoding.EncodeToString(digest))
	if status != 200 {
		return nil, errors.New(got)
	}
	var evidence map[string]any
	if err := json.Unmarshal([]byte(got), &evidence); err != nil {
		return nil, err
	}
	if f.change != nil {
		f.change(evidence, digest)
	}
	return json.Marshal(evidence)
}

func TestEvidenceForAWorkloadCompletesNoHandshake(t *testing.T) {
	b := newBench(t, api.APIAttestation)
	client, err := pinned(b.config.Broker, silence)
	check(t, err)
	for name, change := range map[string]func(map[string]any, []byte){
		"as it is": nil,
		"with a HMAC by a guessed secret": func(e map[string]any, digest []byte) {
			e["activation_hmac"] = tpm.ActivationMAC([]byte("guess"), digest)
		},
		"for whoever asks for no activation": func(e map[string]any, _ []byte) { delete(e, "activation_hmac") },
	} {
		c, err := kbc.New(kbc.Config{URL: b.config.Broker.URL, HTTP: client, Attester: forger{b, change}, InitData: b.document})
		check(t, err)
		var problem *kbc.Problem
		if err := c.Attest(t.Context()); !errors.As(err, &problem) || !strings.Contains(err.Error(), attest.ErrNonce.Error()) {
			t.Errorf("%s: got %v, want %v", name, err, attest.ErrNonce)
		}
		c.Close()
	}
}

// Even a verifier that trusts the attestation key without activation sees that
// the quote is not over a handshake, whatever data the workload asks for.
func TestAQuoteForAWorkloadIsOverNoHandshake(t *testing.T) {
	b := newBench(t, api.APIAttestation)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	point, err := key.PublicKey.Bytes()
	check(t, err)
	jwk, err := json.Marshal(map[string]string{"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW",
		"x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:])})
	check(t, err)
	digest, err := attest.RuntimeDigest(api.RuntimeData{Nonce: "bm9uY2U=", TEEPubKey: jwk}, "")
	check(t, err)
	for name, data := range map[string][]byte{"digest": digest, "its first half": digest[:32], "nothing": {}, "key": jwk} {
		status, got := b.get("/aa/evidence?encoding=base64&runtime_data=" + base64.RawURLEncoding.EncodeToString(data))
		var e api.TPMEvidence
		if err := json.Unmarshal([]byte(got), &e); status != 200 || err != nil {
			t.Fatalf("%s: got %d %s, %v", name, status, got, err)
		}
		raw, err := base64.StdEncoding.DecodeString(e.Quote.Message)
		check(t, err)
		message, err := tpm2.Unmarshal[tpm2.TPMSAttest](raw)
		check(t, err)
		nonce, want := message.ExtraData.Buffer, tpm.WorkloadNonce(data)
		if string(nonce) != string(want[:]) || string(nonce) == string(digest[:32]) || len(e.ActivationHMAC) > 0 {
			t.Errorf("%s: the quote is over %x, want %x", name, nonce, want)
		}
	}
}

func TestAWorkloadWithoutFeaturesFindsNothing(t *testing.T) {
	h, end, err := newHub(nil, api.GuestConfig{}, nil)
	if h != nil || err != nil {
		t.Errorf("got %v, %v", h, err)
	}
	end()
}
