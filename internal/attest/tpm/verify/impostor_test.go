package verify_test

import (
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tpm/impostor"
	"holdfast/internal/attest/tpm/verify"
	"holdfast/internal/swtpm"
)

func softKey(t *testing.T) *impostor.Key {
	t.Helper()
	key, err := impostor.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// signed has e signed again by key.
func signed(t *testing.T, e *api.TPMEvidence, key *impostor.Key) {
	t.Helper()
	if err := key.Sign(e); err != nil {
		t.Fatal(err)
	}
}

func TestSelfMadeKeyCannotBeActivated(t *testing.T) {
	r := honest(t)
	key := softKey(t)
	offer := *r.offer
	offer.AKPublic = tpm2.Marshal(key.Public())
	session, err := newVerifier(t).Begin(api.RequestParams{Activation: &offer})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.attester.Evidence(t.Context(), theRuntime, session.Challenge().Activation); err == nil {
		t.Error("the TPM activated a credential for a key that it does not hold")
	}
	again := r.altered(t, func(e *api.TPMEvidence) { signed(t, e, key) })
	if _, err := session.Verify(again, r.bound); !errors.Is(err, attest.ErrSigner) {
		t.Errorf("a TPM's quote, signed again: got %v, want %v", err, attest.ErrSigner)
	}
	whole := r.altered(t, func(e *api.TPMEvidence) {
		if err := key.Quote(e, theRuntime[:sha256.Size]); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := session.Verify(whole, r.bound); !errors.Is(err, attest.ErrActivation) {
		t.Errorf("a quote that software made up: got %v, want %v", err, attest.ErrActivation)
	}
}

func TestEvidenceByAnotherKeyThanOfferedIsRefused(t *testing.T) {
	r := honest(t)
	key := softKey(t)
	forged := r.altered(t, func(e *api.TPMEvidence) { signed(t, e, key) })
	if _, err := r.session.Verify(forged, r.bound); !errors.Is(err, attest.ErrAttestationKey) {
		t.Errorf("got %v, want %v", err, attest.ErrAttestationKey)
	}
}

func TestQuoteSignedByAnotherTPMIsRefused(t *testing.T) {
	r := honest(t)
	other := tpm.New(tpm.Config{TPM: boot(t, 1)})
	defer other.Close()
	offer, err := other.Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	session, err := newVerifier(t).Begin(api.RequestParams{Activation: offer})
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.Evidence(t.Context(), theRuntime, session.Challenge().Activation)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.session.Verify(foreign, r.bound); !errors.Is(err, attest.ErrAttestationKey) {
		t.Errorf("another TPM's evidence: got %v, want %v", err, attest.ErrAttestationKey)
	}
	relayed := r.altered(t, func(e *api.TPMEvidence) { e.Quote = parsed(t, foreign).Quote })
	if _, err := r.session.Verify(relayed, r.bound); !errors.Is(err, attest.ErrSignature) {
		t.Errorf("another TPM's quote: got %v, want %v", err, attest.ErrSignature)
	}
}

func parsed(t *testing.T, evidence json.RawMessage) *api.TPMEvidence {
	t.Helper()
	e, err := verify.Parse(evidence)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestKeysOfTwoTPMsAreNotOne(t *testing.T) {
	r := honest(t)
	other := tpm.New(tpm.Config{TPM: boot(t, 1)})
	defer other.Close()
	foreign, err := other.Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// A machine shows a good TPM's endorsement and signs with a key of its own TPM.
	mixed := api.ActivationOffer{EKCertificate: foreign.EKCertificate, EKPublic: foreign.EKPublic, AKPublic: r.offer.AKPublic}
	session, err := newVerifier(t).Begin(api.RequestParams{Activation: &mixed})
	if err != nil {
		t.Fatal(err)
	}
	for name, a := range map[string]*tpm.Attester{"with the quoting key": r.attester, "with the endorsement": other} {
		if _, err := a.Evidence(t.Context(), theRuntime, session.Challenge().Activation); err == nil {
			t.Errorf("the TPM %s activated the credential", name)
		}
	}
	if _, err := session.Verify(r.evidence, r.bound); !errors.Is(err, attest.ErrActivation) {
		t.Errorf("got %v, want %v", err, attest.ErrActivation)
	}
}

func TestUntrustedEndorsementIsRefused(t *testing.T) {
	r := honest(t)
	unknown := tpm.New(tpm.Config{TPM: boot(t, stranger)})
	defer unknown.Close()
	foreign, err := unknown.Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ca, err := swtpm.CA(authority(0))
	if err != nil {
		t.Fatal(err)
	}
	issuer, _ := pem.Decode(ca)
	weak := tpm2.RSAEKTemplate
	weak.ObjectAttributes.Restricted = false
	cases := []struct {
		name   string
		want   error
		change func(*api.ActivationOffer)
	}{
		{"by another authority", attest.ErrEndorsement, func(o *api.ActivationOffer) { *o = *foreign }},
		{"for another key", attest.ErrEndorsement, func(o *api.ActivationOffer) { o.EKPublic = foreign.EKPublic }},
		{"for a key of another template", attest.ErrEndorsement, func(o *api.ActivationOffer) { o.EKPublic = tpm2.Marshal(weak) }},
		{"that is not for endorsement", attest.ErrEndorsement, func(o *api.ActivationOffer) { o.EKCertificate = issuer.Bytes }},
		{"that was altered", attest.ErrEndorsement, func(o *api.ActivationOffer) {
			o.EKCertificate = append([]byte(nil), o.EKCertificate...)
			o.EKCertificate[len(o.EKCertificate)-1] ^= 1
		}},
		{"that is cut", attest.ErrMalformed, func(o *api.ActivationOffer) { o.EKCertificate = o.EKCertificate[:100] }},
		{"that is absent", attest.ErrMalformed, func(o *api.ActivationOffer) { o.EKCertificate = nil }},
		{"of a cut key", attest.ErrMalformed, func(o *api.ActivationOffer) { o.EKPublic = o.EKPublic[:20] }},
	}
	for _, c := range cases {
		t.Run("endorsement "+c.name, func(t *testing.T) {
			offer := *r.offer
			c.change(&offer)
			if _, err := newVerifier(t).Begin(api.RequestParams{Activation: &offer}); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestKeyThatWouldSignAnythingIsRefused(t *testing.T) {
	r := honest(t)
	cases := []struct {
		name   string
		want   error
		change func(*tpm2.TPMTPublic)
	}{
		{"unrestricted", attest.ErrKeyAttributes, func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Restricted = false }},
		{"decrypting", attest.ErrKeyAttributes, func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Decrypt = true }},
		{"not signing", attest.ErrKeyAttributes, func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SignEncrypt = false }},
		{"movable", attest.ErrKeyAttributes, func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedTPM = false }},
		{"of a movable parent", attest.ErrKeyAttributes, func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedParent = false }},
		{"imported", attest.ErrKeyAttributes, func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SensitiveDataOrigin = false }},
		{"named by SHA-1", attest.ErrKeyAttributes, func(p *tpm2.TPMTPublic) { p.NameAlg = tpm2.TPMAlgSHA1 }},
		{"an endorsement key", attest.ErrKeyAttributes, func(p *tpm2.TPMTPublic) { *p = tpm2.RSAEKTemplate }},
		{"elliptic", attest.ErrKeyAttributes, func(p *tpm2.TPMTPublic) { *p = tpm2.ECCSRKTemplate }},
		{"without a modulus", attest.ErrKeyAttributes, func(p *tpm2.TPMTPublic) { *p = tpm.AKTemplate() }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			public, err := tpm2.Unmarshal[tpm2.TPMTPublic](r.offer.AKPublic)
			if err != nil {
				t.Fatal(err)
			}
			c.change(public)
			offer := *r.offer
			offer.AKPublic = tpm2.Marshal(public)
			if _, err := newVerifier(t).Begin(api.RequestParams{Activation: &offer}); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestRealUnrestrictedKeyIsRefused(t *testing.T) {
	r := honest(t)
	template := tpm.AKTemplate()
	template.ObjectAttributes.Restricted = false
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(template),
	}.Execute(r.tpm)
	if err != nil {
		t.Fatal(err)
	}
	offer := *r.offer
	offer.AKPublic = rsp.OutPublic.Bytes()
	if _, err := newVerifier(t).Begin(api.RequestParams{Activation: &offer}); !errors.Is(err, attest.ErrKeyAttributes) {
		t.Errorf("got %v, want %v", err, attest.ErrKeyAttributes)
	}
}

func TestRequestWithoutOfferIsRefused(t *testing.T) {
	boot(t, 0)
	if _, err := newVerifier(t).Begin(api.RequestParams{}); !errors.Is(err, attest.ErrActivation) {
		t.Errorf("got %v, want %v", err, attest.ErrActivation)
	}
}

func TestVerifierWantsAnAuthority(t *testing.T) {
	for _, roots := range []string{"", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if _, err := verify.New(verify.Config{Roots: []byte(roots)}); err == nil {
			t.Errorf("roots %q were accepted", roots)
		}
	}
}
