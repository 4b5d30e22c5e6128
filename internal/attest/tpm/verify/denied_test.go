package verify_test

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tpm/verify"
)

// revokes is m's revocation list with serial on it.
func (m maker) revokes(t *testing.T, serial int64, next time.Time) []byte {
	t.Helper()
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Unix(1e9, 0), NextUpdate: next,
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(serial), RevocationTime: time.Unix(15e8, 0), ReasonCode: 1}},
	}, m.cert, m.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestEndorsementOutOfItsTimeOrRevokedIsRefusedForItsReason(t *testing.T) {
	m, stranger := newMaker(t, time.Unix(3e9, 0)), newMaker(t, time.Unix(3e9, 0))
	d, _ := spare(t)
	forget(t, d, 0x01c00002)
	cert := m.certify(t, d, tpm.Endorsements()[1], time.Unix(2e9, 0))
	offer, err := tpm.New(tpm.Config{TPM: d}).Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	long := m.endorse(t, 8, time.Unix(35e8, 0), cert.PublicKey) // which outlives its authority
	other := api.ActivationOffer{EKCertificate: long.Raw, EKPublic: offer.EKPublic, AKPublic: offer.AKPublic}
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: m.revokes(t, 7, time.Unix(3e9, 0))})
	for _, c := range []struct {
		name  string
		offer *api.ActivationOffer
		at    int64
		lists [][]byte
		want  error
	}{
		{"good", offer, 18e8, nil, nil},
		{"expired", offer, 21e8, nil, attest.ErrExpired},
		{"not yet good", offer, 9e8, nil, attest.ErrExpired},
		{"of an expired authority", &other, 31e8, nil, attest.ErrExpired},
		{"revoked", offer, 18e8, [][]byte{m.revokes(t, 7, time.Unix(3e9, 0))}, attest.ErrRevoked},
		{"revoked, in PEM", offer, 18e8, [][]byte{asPEM}, attest.ErrRevoked},
		{"revoked by an old list", offer, 18e8, [][]byte{m.revokes(t, 7, time.Unix(16e8, 0))}, attest.ErrRevoked},
		{"another is revoked", offer, 18e8, [][]byte{m.revokes(t, 9, time.Unix(3e9, 0))}, nil},
		{"the list is old", offer, 18e8, [][]byte{m.revokes(t, 9, time.Unix(16e8, 0))}, attest.ErrRevocationList},
		{"the list is a stranger's of the same name", offer, 18e8, [][]byte{stranger.revokes(t, 7, time.Unix(3e9, 0))}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := verify.New(verify.Config{Roots: m.pem(), Revocations: c.lists, Clock: func() time.Time { return time.Unix(c.at, 0) }})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := v.Begin(api.RequestParams{Activation: c.offer}); !errors.Is(err, c.want) || err != nil && errors.Is(err, attest.ErrEndorsement) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// What was found good once is not good for ever.
func TestRememberedEndorsementExpires(t *testing.T) {
	m := newMaker(t, time.Unix(3e9, 0))
	d, _ := spare(t)
	forget(t, d, 0x01c00002)
	m.certify(t, d, tpm.Endorsements()[1], time.Unix(2e9, 0))
	offer, err := tpm.New(tpm.Config{TPM: d}).Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(18e8, 0)
	v, err := verify.New(verify.Config{Roots: m.pem(), Revocations: [][]byte{m.revokes(t, 9, time.Unix(19e8, 0))}, Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at   int64
		want error
	}{{18e8, nil}, {185e7, nil}, {195e7, attest.ErrRevocationList}, {21e8, attest.ErrExpired}, {18e8, nil}} {
		now = time.Unix(c.at, 0)
		if _, err := v.Begin(api.RequestParams{Activation: offer}); !errors.Is(err, c.want) {
			t.Errorf("at %d: got %v, want %v", c.at, err, c.want)
		}
	}
}

func TestRevocationListThatIsNoneIsRefused(t *testing.T) {
	m := newMaker(t, time.Unix(3e9, 0))
	if _, err := verify.New(verify.Config{Roots: m.pem(), Revocations: [][]byte{[]byte("no list")}}); err == nil {
		t.Error("it was taken")
	}
}

// A quote that the verifier saw is told apart from one for a handshake that it
// never had.
func TestReplayedQuoteIsToldFromAnothersNonce(t *testing.T) {
	r := honest(t)
	v := newVerifier(t)
	begin := func() attest.Session {
		s, err := v.Begin(api.RequestParams{Activation: r.offer})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := begin()
	seen := r.prove(t, first, theRuntime)
	unseen := r.prove(t, begin(), digest("a handshake elsewhere"))
	if _, err := first.Verify(seen, r.bound); err != nil {
		t.Fatal(err)
	}
	bound := attest.Binding{RuntimeDigest: digest("the next handshake")}
	if _, err := begin().Verify(seen, bound); !errors.Is(err, attest.ErrSeen) {
		t.Errorf("a quote of before: got %v, want %v", err, attest.ErrSeen)
	}
	if _, err := begin().Verify(unseen, bound); !errors.Is(err, attest.ErrNonce) {
		t.Errorf("a quote for another: got %v, want %v", err, attest.ErrNonce)
	}
}

// A key that was activated in its own TPM is known to be in no other.
func TestKeyOfAnotherTPMIsToldFromASelfMadeOne(t *testing.T) {
	r := honest(t)
	v := newVerifier(t)
	s, err := v.Begin(api.RequestParams{Activation: r.offer})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Verify(r.prove(t, s, theRuntime), r.bound); err != nil {
		t.Fatal(err)
	}
	other := tpm.New(tpm.Config{TPM: boot(t, 1)})
	defer other.Close()
	foreign, err := other.Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mixed := api.ActivationOffer{EKCertificate: foreign.EKCertificate, EKPublic: foreign.EKPublic, AKPublic: r.offer.AKPublic}
	if s, err = v.Begin(api.RequestParams{Activation: &mixed}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Verify(r.evidence, r.bound); !errors.Is(err, attest.ErrOtherDevice) {
		t.Errorf("got %v, want %v", err, attest.ErrOtherDevice)
	}
}

// trusteeRound is the evidence that Trustee's own attester recorded, and the
// binding of the handshake that it was for.
func trusteeRound(t *testing.T) (json.RawMessage, *api.TPMEvidence, attest.Binding) {
	t.Helper()
	data, e, q := trusteesQuote(t)
	return data, e, attest.Binding{RuntimeDigest: q.Nonce}
}

func trusteesQuote(t *testing.T) (json.RawMessage, *api.TPMEvidence, *verify.Quote) {
	t.Helper()
	data, err := os.ReadFile("testdata/trustee/tpm_evidence.json")
	if err != nil {
		t.Fatal(err)
	}
	e, err := verify.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	key, err := verify.ParseKey(e.AKPublic)
	if err != nil {
		t.Fatal(err)
	}
	q, err := verify.VerifyQuote(e.Quote, key)
	if err != nil {
		t.Fatal(err)
	}
	return data, e, q
}

func listing(t *testing.T, keys ...string) *verify.Verifier {
	t.Helper()
	v, err := verify.New(verify.Config{Roots: newMaker(t, time.Unix(3e9, 0)).pem(), TrustedKeys: func(key string) (bool, error) {
		for _, k := range keys {
			if k == key {
				return true, nil
			}
		}
		return false, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The recording has a nonce of 64 bytes, of before Trustee's attester cut it to
// 32: signature, PCR values and the key are good, and the handshake is not.
func TestListedKeyOfTrusteesRecordingIsTrusted(t *testing.T) {
	data, e, bound := trusteeRound(t)
	if len(bound.RuntimeDigest) != 64 {
		t.Fatalf("nonce of %d bytes", len(bound.RuntimeDigest))
	}
	session, err := listing(t, e.AKPublic).Begin(api.RequestParams{})
	if err != nil {
		t.Fatal(err)
	}
	if c := session.Challenge(); c.Activation != nil || c.SelectedHashAlgorithm != "sha384" {
		t.Errorf("challenge is %+v", c)
	}
	if _, err := session.Verify(data, bound); !errors.Is(err, attest.ErrNonce) {
		t.Errorf("got %v, want %v", err, attest.ErrNonce)
	}
}

func TestUnlistedKeyIsRefusedWithThatReason(t *testing.T) {
	data, _, bound := trusteeRound(t)
	session, err := listing(t, "another").Begin(api.RequestParams{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.Verify(data, bound); !errors.Is(err, attest.ErrUnlisted) {
		t.Errorf("got %v, want %v", err, attest.ErrUnlisted)
	}
}

func TestListedKeyOfASoftwareTPMIsBoundToItsHandshake(t *testing.T) {
	r := honest(t)
	e := parsed(t, r.evidence)
	session, err := listing(t, e.AKPublic).Begin(api.RequestParams{})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := session.Verify(r.evidence, r.bound)
	if err != nil || claims["activated"] != false || claims["ek_certificate"] != nil {
		t.Errorf("claims %v, %v", claims, err)
	}
	other := attest.Binding{RuntimeDigest: digest("another")}
	if _, err := session.Verify(r.evidence, other); !errors.Is(err, attest.ErrSeen) {
		t.Errorf("replayed: got %v, want %v", err, attest.ErrSeen)
	}
	wrong := sha256.Sum256([]byte("another document"))
	if _, err := session.Verify(r.evidence, attest.Binding{RuntimeDigest: theRuntime, InitDataDigest: wrong[:]}); !errors.Is(err, attest.ErrInitData) {
		t.Errorf("other init-data: got %v, want %v", err, attest.ErrInitData)
	}
}
