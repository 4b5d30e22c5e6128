package verify_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tpm/verify"
	"holdfast/internal/swtpm"
)

// The TPMs of these tests are manufactured once, by two authorities.
var (
	root       string
	makeOnce   sync.Once
	errMade    error
	authority  = func(n int) string { return filepath.Join(root, fmt.Sprint("ca", n)) }
	tpmFolder  = func(n int) string { return filepath.Join(root, fmt.Sprint("tpm", n)) }
	stranger   = 2 // the TPM of the other authority
	initData   = []byte("version = \"0.1.0\"\nalgorithm = \"sha256\"\n")
	theRuntime = digest("a handshake")
)

func digest(text string) []byte {
	d, err := attest.RuntimeDigest(api.RuntimeData{Nonce: text, TEEPubKey: json.RawMessage(`{"kty":"EC"}`)}, "")
	if err != nil {
		panic(err)
	}
	return d
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "verify-")
	if err != nil {
		panic(err)
	}
	root = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// boot starts TPM n, cleared.
func boot(t testing.TB, n int) *swtpm.TPM {
	t.Helper()
	if err := swtpm.Installed(); err != nil {
		t.Skipf("%v; run it with: apt-get install swtpm swtpm-tools", err)
	}
	makeOnce.Do(func() {
		for i := range 3 {
			c := swtpm.Config{Dir: tpmFolder(i), CADir: authority(i / stranger)}
			if errMade = swtpm.Manufacture(t.Context(), c); errMade != nil {
				return
			}
		}
	})
	if errMade != nil {
		t.Fatal(errMade)
	}
	d, err := swtpm.Open(t.Context(), tpmFolder(n))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func newVerifier(t testing.TB) *verify.Verifier {
	t.Helper()
	ca, err := swtpm.CA(authority(0))
	if err != nil {
		t.Fatal(err)
	}
	v, err := verify.New(verify.Config{Roots: ca})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A round is one honest handshake, up to the evidence.
type round struct {
	tpm      *swtpm.TPM
	attester *tpm.Attester
	offer    *api.ActivationOffer
	session  attest.Session
	evidence json.RawMessage
	bound    attest.Binding
}

func honest(t testing.TB) *round {
	t.Helper()
	r := &round{tpm: boot(t, 0)}
	r.attester = tpm.New(tpm.Config{TPM: r.tpm})
	if _, err := r.attester.MeasureInitData(t.Context(), initData); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.offer, err = r.attester.Offer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.session, err = newVerifier(t).Begin(api.RequestParams{Activation: r.offer}); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(initData)
	r.bound = attest.Binding{RuntimeDigest: theRuntime, InitDataDigest: sum[:]}
	r.evidence = r.prove(t, r.session, theRuntime)
	return r
}

func (r *round) prove(t testing.TB, s attest.Session, runtime []byte) json.RawMessage {
	t.Helper()
	e, err := r.attester.Evidence(t.Context(), runtime, s.Challenge().Activation)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// altered is the evidence after change.
func (r *round) altered(t *testing.T, change func(*api.TPMEvidence)) json.RawMessage {
	t.Helper()
	e, err := verify.Parse(r.evidence)
	if err != nil {
		t.Fatal(err)
	}
	change(e)
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
