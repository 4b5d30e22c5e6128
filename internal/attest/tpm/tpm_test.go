package tpm_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tpm/verify"
	"holdfast/internal/swtpm"
)

// device boots a TPM of its own and makes a verifier that trusts it.
func device(t *testing.T) (*swtpm.TPM, *verify.Verifier) {
	t.Helper()
	return start(t, manufacture(t, t.TempDir()))
}

// The TPM of the tests that leave it as it is.
var (
	sharedOnce sync.Once
	sharedDir  string
)

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(sharedDir)
	os.Exit(code)
}

// shared boots one TPM for all.
func shared(t *testing.T) (*swtpm.TPM, *verify.Verifier) {
	t.Helper()
	sharedOnce.Do(func() {
		dir, err := os.MkdirTemp("", "tpm-")
		if err != nil {
			t.Fatal(err)
		}
		sharedDir = dir
	})
	return start(t, manufacture(t, sharedDir))
}

func manufacture(t *testing.T, dir string) swtpm.Config {
	t.Helper()
	if err := swtpm.Installed(); err != nil {
		t.Skipf("%v; run it with: apt-get install swtpm swtpm-tools", err)
	}
	c := swtpm.Config{Dir: filepath.Join(dir, "tpm"), CADir: filepath.Join(dir, "ca")}
	if err := swtpm.Manufacture(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c
}

func start(t *testing.T, c swtpm.Config) (*swtpm.TPM, *verify.Verifier) {
	t.Helper()
	ca, err := swtpm.CA(c.CADir)
	if err != nil {
		t.Fatal(err)
	}
	v, err := verify.New(verify.Config{Roots: ca})
	if err != nil {
		t.Fatal(err)
	}
	d, err := swtpm.Open(t.Context(), c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d, v
}

// prove runs one handshake of a with v.
func prove(t *testing.T, a *tpm.Attester, v *verify.Verifier) error {
	t.Helper()
	offer, err := a.Offer(t.Context())
	if err != nil {
		return err
	}
	session, err := v.Begin(api.RequestParams{Activation: offer})
	if err != nil {
		return err
	}
	digest, err := attest.RuntimeDigest(api.RuntimeData{Nonce: "n", TEEPubKey: json.RawMessage(`{}`)}, "")
	if err != nil {
		return err
	}
	evidence, err := a.Evidence(t.Context(), digest, session.Challenge().Activation)
	if err != nil {
		return err
	}
	_, err = session.Verify(evidence, attest.Binding{RuntimeDigest: digest})
	return err
}

func TestEndorsementKeyIsDerivedAgainWhenNoneWasLeft(t *testing.T) {
	d, v := device(t)
	left := tpm2.TPMHandle(0x81010001)
	rsp, err := tpm2.ReadPublic{ObjectHandle: left}.Execute(d)
	if err != nil {
		t.Fatalf("the manufacturer left no key: %v", err)
	}
	_, err = tpm2.EvictControl{
		Auth:             tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		ObjectHandle:     &tpm2.NamedHandle{Handle: left, Name: rsp.Name},
		PersistentHandle: left,
	}.Execute(d)
	if err != nil {
		t.Fatal(err)
	}
	a := tpm.New(tpm.Config{TPM: d})
	defer a.Close()
	if err := prove(t, a, v); err != nil {
		t.Error(err)
	}
}

func TestCloseLeavesNothingInTheTPM(t *testing.T) {
	d, v := shared(t)
	for range 4 { // a TPM has room for three keys
		a := tpm.New(tpm.Config{TPM: d})
		if err := prove(t, a, v); err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, first := range []uint32{0x80000000, 0x02000000, 0x03000000} { // keys, sessions (TPM_HT, Part 2, 7.2)
		rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 8}.Execute(d)
		if err != nil {
			t.Fatal(err)
		}
		handles, err := rsp.CapabilityData.Data.Handles()
		if err != nil || len(handles.Handle) > 0 {
			t.Errorf("handles from %#x left: %v, %v", first, handles, err)
		}
	}
}

func TestPrepareIsDoneOnce(t *testing.T) {
	d, _ := shared(t)
	a := tpm.New(tpm.Config{TPM: d})
	defer a.Close()
	start := time.Now()
	done := make(chan error)
	for range 3 {
		go func() { done <- a.Prepare(t.Context()) }()
	}
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Logf("keys made in %v", time.Since(start))
	first, err := a.Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := a.Offer(t.Context())
	if err != nil || !bytes.Equal(first.AKPublic, second.AKPublic) {
		t.Errorf("the offered key changed (%v)", err)
	}
}

// restless extends PCR 16 after each of the next quotes.
type restless struct {
	transport.TPM
	quotes int
}

func (r *restless) Send(command []byte) ([]byte, error) {
	answer, err := r.TPM.Send(command)
	if err == nil && tpm2.TPMCC(binary.BigEndian.Uint32(command[6:])) == tpm2.TPMCCQuote && r.quotes > 0 {
		r.quotes--
		_, err = tpm2.PCRExtend{
			PCRHandle: tpm2.AuthHandle{Handle: 16, Auth: tpm2.PasswordAuth(nil)},
			Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: make([]byte, 32)}}},
		}.Execute(r.TPM)
	}
	return answer, err
}

func TestPCRThatChangesBetweenQuoteAndReadIsQuotedAgain(t *testing.T) {
	d, v := shared(t)
	r := &restless{TPM: d, quotes: 2}
	a := tpm.New(tpm.Config{TPM: r})
	defer a.Close()
	if err := prove(t, a, v); err != nil {
		t.Errorf("changed twice: %v", err)
	}
	r.quotes = 100
	if err := prove(t, a, v); err == nil || !strings.Contains(err.Error(), "PCRs changed") {
		t.Errorf("changing always: got %v, want an error that says so", err)
	}
}

func TestEvidenceWantsAChallengeAndADigest(t *testing.T) {
	a := tpm.New(tpm.Config{})
	if _, err := a.Evidence(t.Context(), make([]byte, 48), nil); err == nil {
		t.Error("evidence was made without a challenge")
	}
	if _, err := a.Evidence(t.Context(), make([]byte, 31), &api.ActivationChallenge{}); err == nil {
		t.Error("evidence was made for a short digest")
	}
}

// dead is a TPM that answers nothing useful.
type dead struct{}

func (dead) Send([]byte) ([]byte, error) { return []byte{0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0x01}, nil }

func TestDeadTPMIsAnError(t *testing.T) {
	a := tpm.New(tpm.Config{TPM: dead{}})
	if err := a.Prepare(t.Context()); err == nil || !strings.Contains(err.Error(), "endorsement certificate") {
		t.Errorf("got %v, want an error about the endorsement certificate", err)
	}
	if _, err := a.MeasureInitData(t.Context(), nil); err == nil || len(a.EventLog()) > 0 {
		t.Errorf("got %v and %d bytes of log; want an error and none", err, len(a.EventLog()))
	}
}
