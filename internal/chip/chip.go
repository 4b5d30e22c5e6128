// Package chip keeps secrets in a TPM 2.0.
//
// What is sealed under a primary key opens in that very TPM and nowhere else,
// and, where PCRs are named, only while they are what they were. On its way to
// and from the chip a secret is encrypted for nobody between.
package chip

import (
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// Errors to branch on, beside the chip's own.
var (
	ErrForm    = errors.New("not an object of a TPM")
	ErrForeign = errors.New("it was sealed in another TPM, or was altered")
	ErrDenied  = errors.New("unseal in the TPM")
)

// A Primary is a loaded primary key of the owner's hierarchy.
type Primary struct {
	tpm2.NamedHandle
	tpm    transport.TPM
	public *tpm2.TPMTPublic
}

// A Sealed is an object as the chip gives it out: TPM2B_PUBLIC, and
// TPM2B_PRIVATE, which it encrypted.
type Sealed struct{ Public, Private []byte }

// Under makes the primary key of a template, the same for each chip and
// template, and unloads it after do.
func Under(t transport.TPM, template tpm2.TPMTPublic, do func(*Primary) error) error {
	rsp, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(template)}.Execute(t)
	if err != nil {
		return fmt.Errorf("primary key of the TPM: %w", err)
	}
	defer Flush(t, rsp.ObjectHandle)
	public, err := rsp.OutPublic.Contents()
	if err != nil {
		return err
	}
	return do(&Primary{tpm2.NamedHandle{Handle: rsp.ObjectHandle, Name: rsp.Name}, t, public})
}

// Flush unloads an object; one that stays is lost with the session.
func Flush(t transport.TPM, h tpm2.TPMHandle) { _, _ = tpm2.FlushContext{FlushHandle: h}.Execute(t) }

// salted is a session whose secret nobody between here and the chip knows.
func (p *Primary) salted(way tpm2.AuthOption) tpm2.Session {
	return tpm2.HMAC(tpm2.TPMAlgSHA256, 16, way, tpm2.Salted(p.Handle, *p.public))
}

// Seal has the chip keep a secret; without a policy its holder needs no more
// than the chip. The attributes come beside those of every sealed object.
func (p *Primary) Seal(secret, policy []byte, attributes tpm2.TPMAObject) (Sealed, error) {
	attributes.FixedTPM, attributes.FixedParent, attributes.NoDA = true, true, true
	attributes.UserWithAuth = len(policy) == 0
	made, err := tpm2.Create{
		ParentHandle: tpm2.AuthHandle{Handle: p.Handle, Name: p.Name, Auth: p.salted(tpm2.AESEncryption(128, tpm2.EncryptIn))},
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: secret})}},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: attributes, AuthPolicy: tpm2.TPM2BDigest{Buffer: policy}}),
	}.Execute(p.tpm)
	if err != nil {
		return Sealed{}, fmt.Errorf("seal in the TPM: %w", err)
	}
	return Sealed{tpm2.Marshal(made.OutPublic), tpm2.Marshal(made.OutPrivate)}, nil
}

// Unseal gives the secret, where the chip lets it go: pcrs are those of the
// policy, nil without one.
func (p *Primary) Unseal(s Sealed, pcrs *tpm2.TPMLPCRSelection) ([]byte, error) {
	public, err := tpm2.Unmarshal[tpm2.TPM2BPublic](s.Public)
	if err != nil {
		return nil, fmt.Errorf("%w: public area: %w", ErrForm, err)
	}
	private, err := tpm2.Unmarshal[tpm2.TPM2BPrivate](s.Private)
	if err != nil {
		return nil, fmt.Errorf("%w: private area: %w", ErrForm, err)
	}
	loaded, err := tpm2.Load{ParentHandle: p.NamedHandle, InPrivate: *private, InPublic: *public}.Execute(p.tpm)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	defer Flush(p.tpm, loaded.ObjectHandle)
	auth, done, err := p.Auth(pcrs)
	if err != nil {
		return nil, err
	}
	defer done()
	rsp, err := tpm2.Unseal{ItemHandle: tpm2.AuthHandle{Handle: loaded.ObjectHandle, Name: loaded.Name, Auth: auth}}.Execute(p.tpm)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return rsp.OutData.Buffer, nil
}

// Auth is a session that uses an object, by its policy of PCRs if it has one.
func (p *Primary) Auth(pcrs *tpm2.TPMLPCRSelection) (session tpm2.Session, done func(), err error) {
	out := tpm2.AESEncryption(128, tpm2.EncryptOut)
	if pcrs == nil {
		return p.salted(out), func() {}, nil
	}
	session, end, err := tpm2.PolicySession(p.tpm, tpm2.TPMAlgSHA256, 16, out, tpm2.Salted(p.Handle, *p.public))
	if err != nil {
		return nil, nil, err
	}
	if _, err := (tpm2.PolicyPCR{PolicySession: session.Handle(), Pcrs: *pcrs}).Execute(p.tpm); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("PCR policy: %w", err), end())
	}
	return session, func() { _ = end() }, nil
}

// Policy is what a trial session makes of PCRs as they are, or of the digest of
// what they are to be.
func Policy(t transport.TPM, pcrs tpm2.TPMLPCRSelection, digest []byte) ([]byte, error) {
	session, end, err := tpm2.PolicySession(t, tpm2.TPMAlgSHA256, 16, tpm2.Trial())
	if err != nil {
		return nil, err
	}
	defer func() { _ = end() }()
	command := tpm2.PolicyPCR{PolicySession: session.Handle(), Pcrs: pcrs, PcrDigest: tpm2.TPM2BDigest{Buffer: digest}}
	if _, err := command.Execute(t); err != nil {
		return nil, fmt.Errorf("PCR policy: %w", err)
	}
	got, err := tpm2.PolicyGetDigest{PolicySession: session.Handle()}.Execute(t)
	if err != nil {
		return nil, err
	}
	return got.PolicyDigest.Buffer, nil
}
