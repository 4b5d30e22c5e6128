package wiring

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tpm/makers"
)

const recording = "../attest/tpm/verify/testdata/trustee/tpm_evidence.json"

func TestOperatorsFolderSaysWhichTPMsAreTrusted(t *testing.T) {
	i, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	v := &tpmVerifier{installation: i}
	if _, err := v.Begin(api.RequestParams{}); !errors.Is(err, attest.ErrEndorsement) {
		t.Fatalf("without anything trusted: got %v, want %v", err, attest.ErrEndorsement)
	}
	i.put(t, "makers.pem", makers.Roots())
	if _, err := v.Begin(api.RequestParams{}); !errors.Is(err, attest.ErrActivation) {
		t.Errorf("without a listed key: got %v, want %v", err, attest.ErrActivation)
	}
	evidence, e := i.list(t, "node.pub")
	time.Sleep(2 * trustAge)
	s, err := v.Begin(api.RequestParams{})
	if err != nil {
		t.Fatal(err)
	}
	if keys := v.listed(); keys == nil || keys.Names[e.AKPublic] != "node" || v.listed() != keys {
		t.Errorf("got %v for policies, want node's key", keys)
	}
	bound := attest.Binding{RuntimeDigest: make([]byte, 48)}
	if _, err := s.Verify(evidence, bound); !errors.Is(err, attest.ErrNonce) { // the key is good, the handshake is another
		t.Errorf("listed: got %v, want %v", err, attest.ErrNonce)
	}
	if err := os.Remove(filepath.Join(i.TPMTrust(), "node.pub")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * trustAge)
	// The broker begins anew when the evidence comes.
	if _, err := v.Begin(api.RequestParams{}); !errors.Is(err, attest.ErrActivation) {
		t.Errorf("taken off the list: got %v, want %v", err, attest.ErrActivation)
	}
	if keys := v.listed(); keys == nil || len(keys.Names) != 0 {
		t.Errorf("taken off the list: got %v for policies", keys)
	}
}

// list puts the recorded machine's key on the operator's list.
func (i Installation) list(t *testing.T, name string) (evidence []byte, e api.TPMEvidence) {
	t.Helper()
	evidence, err := os.ReadFile(recording)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(evidence, &e); err != nil {
		t.Fatal(err)
	}
	der, err := base64.StdEncoding.DecodeString(e.AKPublic)
	if err != nil {
		t.Fatal(err)
	}
	i.put(t, name, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return evidence, e
}

func TestListedKeysNeedNoMakersRoot(t *testing.T) {
	i, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	evidence, _ := i.list(t, "node.pub")
	v := &tpmVerifier{installation: i}
	s, err := v.Begin(api.RequestParams{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Verify(evidence, attest.Binding{RuntimeDigest: make([]byte, 48)}); !errors.Is(err, attest.ErrNonce) { // the key is good
		t.Errorf("listed: got %v, want %v", err, attest.ErrNonce)
	}
	index, err := os.ReadFile("../attest/tpm/makers/testdata/stm-rsa.der")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := tpm.Certificate(index)
	if err != nil {
		t.Fatal(err)
	}
	offer := &api.ActivationOffer{EKCertificate: certificate}
	if _, err := v.Begin(api.RequestParams{Activation: offer}); !errors.Is(err, attest.ErrEndorsement) {
		t.Errorf("a TPM that nobody vouches for: got %v, want %v", err, attest.ErrEndorsement)
	}
}

func (i Installation) put(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(i.TPMTrust(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(i.TPMTrust(), name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFilesThatAreNoTrustAreNamed(t *testing.T) {
	for name, data := range map[string]string{"a.pub": "no key", "a.crl": "no list", "a.pem": "no certificate"} {
		i, err := Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		i.put(t, name, []byte(data))
		v := &tpmVerifier{installation: i, trust: TPMTrust{Makers: name != "a.pem"}}
		if _, err := v.Begin(api.RequestParams{}); err == nil || strings.Contains(err.Error(), i.TPMTrust()) {
			t.Errorf("%s: a machine is told %v, want a refusal that names no folder here", name, err)
		}
		ring, err := i.Ring(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = i.Serve(ring, ServeConfig{RegistryListen: "127.0.0.1:0", BrokerListen: "127.0.0.1:0", TPMs: v.trust})
		if err == nil {
			t.Errorf("%s: it was served", name)
		}
	}
}

func TestMakersAreTrustedWhenTheyAreAskedFor(t *testing.T) {
	i, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	v := &tpmVerifier{installation: i, trust: TPMTrust{Makers: true}}
	if _, err := v.Begin(api.RequestParams{}); !errors.Is(err, attest.ErrActivation) {
		t.Errorf("got %v, want %v", err, attest.ErrActivation)
	}
}
