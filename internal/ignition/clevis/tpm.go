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

	"holdfast/internal/chip"
)

// An opened TPM has the primary key that clevis works under.
type opened struct {
	tpm    transport.TPM
	parent *chip.Primary
}

// primary is the default of tpm2_createprimary, which has other attributes than
// the storage root key that most share.
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

func (t TPM2) with(ctx context.Context, do func(opened) error) (err error) {
	device, err := t.Chip(ctx)
	if err != nil {
		return fmt.Errorf("open the TPM: %w", err)
	}
	tpm := retrying{device}
	defer func() { err = errors.Join(err, tpm.Close()) }()
	return chip.Under(tpm, primary, func(p *chip.Primary) error {
		c := opened{tpm, p}
		err := do(c)
		if errors.Is(err, tpm2.TPMRCLockout) && c.unlock() == nil {
			err = do(c)
		}
		return err
	})
}

// unlock ends the lockout that a TPM takes some power cuts for (TPM 2.0 Part 1,
// 19.8.6). No key here has a password that somebody could guess meanwhile.
func (c opened) unlock() error {
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

func (c opened) seal(content []byte, p pin) (chip.Sealed, error) {
	var policy []byte
	if len(p.pcrs) > 0 {
		var err error
		if policy, err = c.policy(p); err != nil {
			return chip.Sealed{}, err
		}
	}
	return c.parent.Seal(content, policy, tpm2.TPMAObject{AdminWithPolicy: true})
}

func (c opened) policy(p pin) ([]byte, error) {
	pcrs, err := p.selection()
	if err != nil {
		return nil, err
	}
	var digest []byte
	if len(p.values) > 0 {
		sum := sha256.Sum256(p.values)
		digest = sum[:]
	}
	policy, err := chip.Policy(c.tpm, pcrs, digest)
	if err != nil {
		return nil, fmt.Errorf("PCRs %s of bank %s: %w", p.ids(), p.bank, err)
	}
	return policy, nil
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
	err = t.with(ctx, func(c opened) error {
		mac, err = c.mac(digest[:], p)
		return err
	})
	return mac, err
}

func (c opened) mac(digest []byte, p pin) ([]byte, error) {
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
	defer chip.Flush(c.tpm, key.ObjectHandle)
	pcrs, err := p.guard()
	if err != nil {
		return nil, err
	}
	auth, done, err := c.parent.Auth(pcrs)
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

func (c opened) unseal(s chip.Sealed, p pin) ([]byte, error) {
	pcrs, err := p.guard()
	if err != nil {
		return nil, err
	}
	content, err := c.parent.Unseal(s, pcrs)
	switch {
	case errors.Is(err, chip.ErrForm):
		return nil, fmt.Errorf("JWE: sealed object: %w", err)
	case errors.Is(err, chip.ErrForeign), errors.Is(err, chip.ErrDenied):
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return content, err
}

// guard are the PCRs that an object is used by, nil for none.
func (p pin) guard() (*tpm2.TPMLPCRSelection, error) {
	if len(p.pcrs) == 0 {
		return nil, nil
	}
	pcrs, err := p.selection()
	return &pcrs, err
}
