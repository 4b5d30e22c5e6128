package clevis

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
)

// A chip is an open TPM with the primary key that clevis works under: the
// default of tpm2_createprimary, which has other attributes than the storage
// root key that most share.
type chip struct {
	tpm    transport.TPM
	parent tpm2.NamedHandle
	public *tpm2.TPMTPublic
}

var primary = tpm2.TPMTPublic{
	Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
	ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true,
		UserWithAuth: true, Restricted: true, Decrypt: true},
	Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
		Symmetric: tpm2.TPMTSymDefObject{Algorithm: tpm2.TPMAlgAES,
			KeyBits: tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, tpm2.TPMKeyBits(128)),
			Mode:    tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCFB)},
		CurveID: tpm2.TPMECCNistP256,
	}),
	Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}),
}

func (t TPM2) with(ctx context.Context, do func(chip) error) (err error) {
	opened, err := t.Chip(ctx)
	if err != nil {
		return fmt.Errorf("open the TPM: %w", err)
	}
	tpm := retrying{opened}
	defer func() { err = errors.Join(err, tpm.Close()) }()
	made, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(primary)}.Execute(tpm)
	if err != nil {
		return fmt.Errorf("primary key of the TPM: %w", err)
	}
	defer func() { _, _ = tpm2.FlushContext{FlushHandle: made.ObjectHandle}.Execute(tpm) }()
	public, err := made.OutPublic.Contents()
	if err != nil {
		return err
	}
	c := chip{tpm, tpm2.NamedHandle{Handle: made.ObjectHandle, Name: made.Name}, public}
	err = do(c)
	if errors.Is(err, tpm2.TPMRCLockout) && c.unlock() == nil {
		err = do(c)
	}
	return err
}

// unlock ends the lockout that a TPM takes some power cuts for (TPM 2.0 Part 1,
// 19.8.6). No key here has a password that somebody could guess meanwhile.
func (c chip) unlock() error {
	answer, err := c.tpm.Send(lockReset)
	if err == nil && (len(answer) < 10 || tpm2.TPMRC(binary.BigEndian.Uint32(answer[6:])) != tpm2.TPMRCSuccess) {
		err = errors.New("the TPM keeps its lockout")
	}
	return err
}

// lockReset is TPM2_DictionaryAttackLockReset (Part 3, 25.2) with the empty
// password that a new TPM has for it.
var lockReset = []byte{0x80, 0x02, 0, 0, 0, 27, 0, 0, 0x01, 0x39, 0x40, 0, 0, 0x0a, 0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0}

// Device is the chip that Linux found, by its resource manager.
func Device() TPM2 {
	return TPM2{Chip: func(context.Context) (transport.TPMCloser, error) { return linuxtpm.Open(device) }}
}

const device = "/dev/tpmrm0"

// HasDevice says whether Linux found one.
func HasDevice() bool {
	_, err := os.Stat(device)
	return err == nil
}

// retrying sends again what a TPM was not ready for: it notes in NV memory
// when a guarded key is used for the first time (TPM 2.0 Part 1, 19.8.3).
// Linux does the same, swtpm's own channel does not.
type retrying struct{ transport.TPMCloser }

func (r retrying) Send(command []byte) ([]byte, error) {
	for left := 10; ; left-- {
		answer, err := r.TPMCloser.Send(command)
		if err != nil || left == 0 || len(answer) < 10 || tpm2.TPMRC(binary.BigEndian.Uint32(answer[6:])) != tpm2.TPMRCRetry {
			return answer, err
		}
	}
}

// salted encrypts parameters on their way to and from the chip.
func (c chip) salted(way tpm2.AuthOption) tpm2.Session {
	return tpm2.HMAC(tpm2.TPMAlgSHA256, 16, way, tpm2.Salted(c.parent.Handle, *c.public))
}

func (c chip) seal(content []byte, p pin) (public, private []byte, err error) {
	template := tpm2.TPMTPublic{
		Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, NoDA: true, AdminWithPolicy: true, UserWithAuth: len(p.pcrs) == 0},
	}
	if len(p.pcrs) > 0 {
		if template.AuthPolicy.Buffer, err = c.policy(p); err != nil {
			return nil, nil, err
		}
	}
	made, err := tpm2.Create{
		ParentHandle: tpm2.AuthHandle{Handle: c.parent.Handle, Name: c.parent.Name, Auth: c.salted(tpm2.AESEncryption(128, tpm2.EncryptIn))},
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: content})}},
		InPublic: tpm2.New2B(template),
	}.Execute(c.tpm)
	if err != nil {
		return nil, nil, fmt.Errorf("seal in the TPM: %w", err)
	}
	return tpm2.Marshal(made.OutPublic), tpm2.Marshal(made.OutPrivate), nil
}

// policy is what a trial session makes of the PCRs.
func (c chip) policy(p pin) ([]byte, error) {
	pcrs, err := p.selection()
	if err != nil {
		return nil, err
	}
	session, done, err := tpm2.PolicySession(c.tpm, tpm2.TPMAlgSHA256, 16, tpm2.Trial())
	if err != nil {
		return nil, err
	}
	defer func() { _ = done() }()
	command := tpm2.PolicyPCR{PolicySession: session.Handle(), Pcrs: pcrs}
	if len(p.values) > 0 {
		digest := sha256.Sum256(p.values)
		command.PcrDigest.Buffer = digest[:]
	}
	if _, err := command.Execute(c.tpm); err != nil {
		return nil, fmt.Errorf("policy of PCRs %s of bank %s: %w", p.ids(), p.bank, err)
	}
	got, err := tpm2.PolicyGetDigest{PolicySession: session.Handle()}.Execute(c.tpm)
	if err != nil {
		return nil, err
	}
	return got.PolicyDigest.Buffer, nil
}

// Mac is by a key that the TPM makes of its own seed and of the PCRs in pin:
// whoever has the TPM in the same state gets the same, and nobody else gets
// any.
func (t TPM2) Mac(ctx context.Context, message []byte, pin json.RawMessage) (mac []byte, err error) {
	p, err := parsePin(pin)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(message)
	err = t.with(ctx, func(c chip) error {
		mac, err = c.mac(digest[:], p)
		return err
	})
	return mac, err
}

func (c chip) mac(digest []byte, p pin) ([]byte, error) {
	policy, err := c.policy(p)
	if err != nil {
		return nil, err
	}
	template := tpm2.TPMTPublic{
		Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256, AuthPolicy: tpm2.TPM2BDigest{Buffer: policy},
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, NoDA: true, AdminWithPolicy: true, SignEncrypt: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgKeyedHash, &tpm2.TPMSKeyedHashParms{Scheme: tpm2.TPMTKeyedHashScheme{
			Scheme: tpm2.TPMAlgHMAC, Details: tpm2.NewTPMUSchemeKeyedHash(tpm2.TPMAlgHMAC, &tpm2.TPMSSchemeHMAC{HashAlg: tpm2.TPMAlgSHA256})}}),
	}
	key, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(template)}.Execute(c.tpm)
	if err != nil {
		return nil, fmt.Errorf("key of the machine's state: %w", err)
	}
	defer func() { _, _ = tpm2.FlushContext{FlushHandle: key.ObjectHandle}.Execute(c.tpm) }()
	auth, done, err := c.auth(p)
	if err != nil {
		return nil, err
	}
	defer done()
	made, err := tpm2.Hmac{Handle: tpm2.AuthHandle{Handle: key.ObjectHandle, Name: key.Name, Auth: auth}, Buffer: tpm2.TPM2BMaxBuffer{Buffer: digest}, HashAlg: tpm2.TPMAlgSHA256}.Execute(c.tpm)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return made.OutHMAC.Buffer, nil
}

func (c chip) unseal(public, private []byte, p pin) ([]byte, error) {
	pub, err := tpm2.Unmarshal[tpm2.TPM2BPublic](public)
	if err != nil {
		return nil, fmt.Errorf("JWE: sealed object: %w", err)
	}
	priv, err := tpm2.Unmarshal[tpm2.TPM2BPrivate](private)
	if err != nil {
		return nil, fmt.Errorf("JWE: sealed object: %w", err)
	}
	loaded, err := tpm2.Load{ParentHandle: c.parent, InPrivate: *priv, InPublic: *pub}.Execute(c.tpm)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	defer func() { _, _ = tpm2.FlushContext{FlushHandle: loaded.ObjectHandle}.Execute(c.tpm) }()
	auth, done, err := c.auth(p)
	if err != nil {
		return nil, err
	}
	defer done()
	rsp, err := tpm2.Unseal{ItemHandle: tpm2.AuthHandle{Handle: loaded.ObjectHandle, Name: loaded.Name, Auth: auth}}.Execute(c.tpm)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return rsp.OutData.Buffer, nil
}

func (c chip) auth(p pin) (tpm2.Session, func(), error) {
	if len(p.pcrs) == 0 {
		return c.salted(tpm2.AESEncryption(128, tpm2.EncryptOut)), func() {}, nil
	}
	pcrs, err := p.selection()
	if err != nil {
		return nil, nil, err
	}
	session, done, err := tpm2.PolicySession(c.tpm, tpm2.TPMAlgSHA256, 16, tpm2.AESEncryption(128, tpm2.EncryptOut), tpm2.Salted(c.parent.Handle, *c.public))
	if err != nil {
		return nil, nil, err
	}
	if _, err := (tpm2.PolicyPCR{PolicySession: session.Handle(), Pcrs: pcrs}).Execute(c.tpm); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("PCR policy: %w", err), done())
	}
	return session, func() { _ = done() }, nil
}
