// Package verify judges the evidence that package tpm makes.
//
// What it concludes rests on one chain: a trusted authority certified the
// endorsement key; only the TPM with that key could recover the secret that
// this verifier sealed to the attestation key's name; and the attestation key,
// which signs nothing but the TPM's own statements, signed the PCRs and the
// handshake's nonce. The event log explains PCR values and is believed only as
// far as it replays to them.
//
// The claims are, in hex where they are bytes: report_data (the quote's nonce),
// init_data (PCR 8), ak_public and pcr00 to pcr23, as Trustee names them; ours
// are banks (the names of those quoted), pcrs (by bank, of those beside SHA-256),
// activated, init_data_digest, ak_name, ek_certificate (SHA-256 of it) and tpm
// (manufacturer, model, version). A log adds event_log_pcrs (the PCRs it
// explains), secure_boot, boot_programs and uki_sections, each only if it tells.
// Policy should judge PCRs by reference values, and use these to explain.
package verify

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
)

// Config says whom to believe.
type Config struct {
	// Roots are PEM certificates. Each is trusted to vouch for endorsement
	// keys, directly or through certificates that are also among them. There may
	// be none beside TrustedKeys: then no machine can activate.
	Roots []byte
	// Intermediates are not believed, but may stand between an endorsement
	// certificate and a root.
	Intermediates []*x509.Certificate
	// Revocations are revocation lists, PEM or DER, of authorities on the way.
	Revocations [][]byte

	// Banks of PCRs that evidence must have: SHA-256 when empty.
	Banks []tpm.Bank

	// TrustedKeys says whether an attestation key is good without activation: an
	// administrator knows that a TPM holds it. The key is base64 of a DER
	// SubjectPublicKeyInfo. Without it no such key is.
	TrustedKeys func(key string) (bool, error)

	Clock func() time.Time // default time.Now
	Rand  io.Reader        // default crypto/rand
}

// A Verifier judges evidence of TPMs.
type Verifier struct {
	roots       *x509.CertPool
	inter       *x509.CertPool
	tops        *x509.CertPool // of the roots, those that signed themselves
	between     *x509.CertPool // all others that are known
	revocations revocations
	banks       []tpm.Bank
	trusted     func(string) (bool, error)
	templates   [][]byte
	clock       func() time.Time
	rand        io.Reader

	heads     heads
	known     endorsements
	offers    memory[offerID, offer]   // that were judged good
	seen      memory[string, struct{}] // nonces of quotes that had a good signature
	activated memory[string, string]   // names of attestation keys, and the certificate of the TPM that has them
}

var _ attest.Verifier = (*Verifier)(nil)

// New returns a Verifier.
func New(c Config) (*Verifier, error) {
	v := &Verifier{roots: x509.NewCertPool(), inter: x509.NewCertPool(), tops: x509.NewCertPool(), between: x509.NewCertPool(), banks: c.Banks, trusted: c.TrustedKeys, templates: templateHeads(), clock: c.Clock, rand: c.Rand}
	if len(v.banks) == 0 {
		v.banks = []tpm.Bank{tpm.SHA256}
	}
	var err error
	if v.revocations, err = readRevocations(c.Revocations); err != nil {
		return nil, err
	}
	for _, cert := range c.Intermediates {
		v.inter.AddCert(cert)
		v.between.AddCert(cert)
	}
	if v.clock == nil {
		v.clock = time.Now
	}
	if v.rand == nil {
		v.rand = rand.Reader
	}
	if c.TrustedKeys != nil && len(bytes.TrimSpace(c.Roots)) == 0 {
		return v, nil
	}
	if err := v.addRoots(c.Roots); err != nil {
		return nil, err
	}
	return v, nil
}

func (v *Verifier) addRoots(bundle []byte) error {
	n := 0
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("authority of endorsement keys: %w", err)
		}
		v.roots.AddCert(cert)
		if bytes.Equal(cert.RawSubject, cert.RawIssuer) {
			v.tops.AddCert(cert)
		} else {
			v.between.AddCert(cert)
		}
		n++
	}
	if n == 0 {
		return errors.New("authority of endorsement keys: no PEM certificate given")
	}
	return nil
}

// TEE is the kind of evidence judged.
func (v *Verifier) TEE() string { return tpm.TEE }

// secretSize is the activated secret's, at most that of the name's digest.
const secretSize = sha256.Size

// A session waits for the evidence of one offered key, or of a listed one.
type session struct {
	verifier  *Verifier
	secret    []byte
	challenge api.ChallengeParams
	offer     offer
}

// Begin judges the offered keys and makes the challenge that only their TPM can
// answer.
func (v *Verifier) Begin(request api.RequestParams) (attest.Session, error) {
	if request.Activation == nil && v.trusted != nil {
		return &listed{v}, nil
	}
	if request.Activation == nil {
		return nil, fmt.Errorf("%w: the request offers no key (extra-params has no tpm-activation)", attest.ErrActivation)
	}
	o, err := v.judge(request.Activation)
	if err != nil {
		return nil, err
	}
	s := &session{verifier: v, offer: o, secret: make([]byte, secretSize)}
	if _, err := io.ReadFull(v.rand, s.secret); err != nil {
		return nil, err
	}
	blob, sealed, err := makeCredential(v.rand, o.ek, o.akName, s.secret)
	if err != nil {
		return nil, fmt.Errorf("make credential: %w", err)
	}
	s.challenge = api.ChallengeParams{
		SelectedHashAlgorithm: attest.HashAlgorithm,
		Activation:            &api.ActivationChallenge{CredentialBlob: blob, EncryptedSecret: sealed},
	}
	return s, nil
}

func (s *session) Challenge() api.ChallengeParams { return s.challenge }

// An offer was judged good: an endorsed key, and the name of a key that may
// live beside it.
type offer struct {
	ek          tpm2.LabeledEncapsulationKey
	akName      []byte
	akPublic    publicKey
	akText      string // as evidence has it
	fingerprint string // SHA-256 of the endorsement certificate, in hex
	device      map[string]string
}

// judge spares a machine that comes again all but the question whether its
// endorsement is still good.
func (v *Verifier) judge(a *api.ActivationOffer) (offer, error) {
	cert := sha256.Sum256(a.EKCertificate)
	id := offerID{cert, sha256.Sum256(a.EKPublic), sha256.Sum256(a.AKPublic)}
	if o, ok := v.offers.get(id); ok && v.known.get(cert, v.clock()) != nil {
		return o, nil
	}
	o, err := v.judgeAnew(cert, a)
	if err == nil {
		v.offers.put(id, o)
	}
	return o, err
}

// An offerID is the digests of all that was offered.
type offerID [3][sha256.Size]byte

func (v *Verifier) judgeAnew(cert [sha256.Size]byte, a *api.ActivationOffer) (offer, error) {
	o, err := v.judgeEndorsement(cert, a)
	if err != nil {
		return offer{}, err
	}
	if o.akPublic, o.akName, err = v.heads.attestationKey(a.AKPublic); err != nil {
		return offer{}, err
	}
	der, err := marshalKey(o.akPublic)
	o.akText = base64.StdEncoding.EncodeToString(der)
	return o, err
}

// judgeEndorsement is given the certificate's SHA-256, too.
func (v *Verifier) judgeEndorsement(id [sha256.Size]byte, a *api.ActivationOffer) (offer, error) {
	cert, device, err := v.endorsed(id, a.EKCertificate)
	if err != nil {
		return offer{}, err
	}
	ek, err := v.endorsementKey(a.EKPublic, cert)
	return offer{ek: ek, fingerprint: hex.EncodeToString(id[:]), device: device}, err
}
