// Package tpm keeps master keys in a TPM 2.0.
//
// A key is sealed under the TPM's storage root key: its record opens in that
// very TPM and nowhere else, and, where PCRs are named, only while they are what
// they were. Unsealing gives the key to this process, which keeps it in locked
// memory; on the way from the chip it is encrypted. A thief of the disk has
// nothing, a thief of the machine who boots something else has nothing when
// PCRs are named.
package tpm

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"holdfast/internal/seal"
)

// Kind names master keys that a TPM holds.
const Kind = "tpm"

// ErrPCRs says that the machine is in another state than when the key was made.
var ErrPCRs = errors.New("the TPM's PCRs are not what they were when the key was made")

// Config says which TPM it is.
type Config struct {
	Open func(context.Context) (transport.TPMCloser, error)
}

// Masters keeps master keys in the TPM.
func Masters(c Config) seal.Provider { return masters{c} }

type masters struct{ config Config }

// Options for making a key.
type Options struct {
	PCRs []uint `json:"pcrs,omitempty"` // of the SHA-256 bank; none when empty
}

type params struct {
	Public  []byte `json:"public"`  // TPM2B_PUBLIC
	Private []byte `json:"private"` // TPM2B_PRIVATE: encrypted by the TPM
	PCRs    []uint `json:"pcrs,omitempty"`
}

func (m masters) Make(ctx context.Context, _ seal.ID, raw json.RawMessage) (json.RawMessage, error) {
	var o Options
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &o); err != nil {
			return nil, err
		}
	}
	for _, pcr := range o.PCRs {
		if pcr > 23 {
			return nil, fmt.Errorf("PCR %d: want 0 to 23", pcr)
		}
	}
	key := make([]byte, 32)
	defer clear(key)
	_, _ = rand.Read(key)
	p := params{PCRs: o.PCRs}
	err := m.withRoot(ctx, func(t transport.TPM, root storageRoot) (err error) {
		p.Public, p.Private, err = create(t, root, key, o.PCRs)
		return err
	})
	if err != nil {
		return nil, err
	}
	return json.Marshal(p)
}

func (m masters) Open(ctx context.Context, id seal.ID, raw json.RawMessage) (seal.Master, error) {
	var p params
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, err
	}
	var key []byte
	err := m.withRoot(ctx, func(t transport.TPM, root storageRoot) (err error) {
		key, err = unseal(t, root, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return seal.Soft(id, key)
}

// A storageRoot is the primary key of the owner hierarchy that others share:
// TCG TPM v2.0 Provisioning Guidance, section 7.5.1.
type storageRoot struct {
	tpm2.NamedHandle
	public *tpm2.TPMTPublic
}

func (m masters) withRoot(ctx context.Context, do func(transport.TPM, storageRoot) error) (err error) {
	t, err := m.config.Open(ctx)
	if err != nil {
		return fmt.Errorf("open the TPM: %w", err)
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	rsp, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate)}.Execute(t)
	if err != nil {
		return fmt.Errorf("the TPM's storage root key: %w", err)
	}
	defer flush(t, rsp.ObjectHandle)
	public, err := rsp.OutPublic.Contents()
	if err != nil {
		return err
	}
	return do(t, storageRoot{tpm2.NamedHandle{Handle: rsp.ObjectHandle, Name: rsp.Name}, public})
}

func flush(t transport.TPM, h tpm2.TPMHandle) { _, _ = tpm2.FlushContext{FlushHandle: h}.Execute(t) }

// salted is a session whose secret nobody between here and the chip knows, so
// that its parameters can be encrypted.
func (r storageRoot) salted(encryption tpm2.AuthOption) tpm2.Session {
	return tpm2.HMAC(tpm2.TPMAlgSHA256, 16, encryption, tpm2.Salted(r.Handle, *r.public))
}

func create(t transport.TPM, root storageRoot, key []byte, pcrs []uint) (public, private []byte, err error) {
	template := tpm2.TPMTPublic{
		Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, UserWithAuth: len(pcrs) == 0, NoDA: true},
	}
	if len(pcrs) > 0 {
		if template.AuthPolicy.Buffer, err = policyOf(t, pcrs); err != nil {
			return nil, nil, err
		}
	}
	rsp, err := tpm2.Create{
		ParentHandle: tpm2.AuthHandle{Handle: root.Handle, Name: root.Name, Auth: root.salted(tpm2.AESEncryption(128, tpm2.EncryptIn))},
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: key})}},
		InPublic: tpm2.New2B(template),
	}.Execute(t)
	if err != nil {
		return nil, nil, fmt.Errorf("seal in the TPM: %w", err)
	}
	return tpm2.Marshal(rsp.OutPublic), tpm2.Marshal(rsp.OutPrivate), nil
}

func unseal(t transport.TPM, root storageRoot, p params) ([]byte, error) {
	public, err := tpm2.Unmarshal[tpm2.TPM2BPublic](p.Public)
	if err != nil {
		return nil, fmt.Errorf("the record's public area: %w", err)
	}
	private, err := tpm2.Unmarshal[tpm2.TPM2BPrivate](p.Private)
	if err != nil {
		return nil, fmt.Errorf("the record's private area: %w", err)
	}
	loaded, err := tpm2.Load{ParentHandle: root.NamedHandle, InPrivate: *private, InPublic: *public}.Execute(t)
	if err != nil {
		return nil, fmt.Errorf("it was sealed in another TPM, or the record was altered: %w", err)
	}
	defer flush(t, loaded.ObjectHandle)
	object := tpm2.AuthHandle{Handle: loaded.ObjectHandle, Name: loaded.Name, Auth: root.salted(tpm2.AESEncryption(128, tpm2.EncryptOut))}
	command := tpm2.Unseal{ItemHandle: object}
	if len(p.PCRs) == 0 {
		rsp, err := command.Execute(t)
		if err != nil {
			return nil, fmt.Errorf("unseal in the TPM: %w", err)
		}
		return rsp.OutData.Buffer, nil
	}
	session, done, err := tpm2.PolicySession(t, tpm2.TPMAlgSHA256, 16, tpm2.AESEncryption(128, tpm2.EncryptOut), tpm2.Salted(root.Handle, *root.public))
	if err != nil {
		return nil, err
	}
	defer func() { _ = done() }()
	if _, err := (tpm2.PolicyPCR{PolicySession: session.Handle(), Pcrs: selection(p.PCRs)}).Execute(t); err != nil {
		return nil, fmt.Errorf("PCR policy: %w", err)
	}
	command.ItemHandle = tpm2.AuthHandle{Handle: loaded.ObjectHandle, Name: loaded.Name, Auth: session}
	rsp, err := command.Execute(t)
	if errors.Is(err, tpm2.TPMRCPolicyFail) {
		return nil, fmt.Errorf("%w: %v", ErrPCRs, p.PCRs)
	}
	if err != nil {
		return nil, fmt.Errorf("unseal in the TPM: %w", err)
	}
	return rsp.OutData.Buffer, nil
}

func selection(pcrs []uint) tpm2.TPMLPCRSelection {
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(pcrs...)}}}
}

// policyOf is the digest of a policy that wants the PCRs as they are now.
func policyOf(t transport.TPM, pcrs []uint) ([]byte, error) {
	session, done, err := tpm2.PolicySession(t, tpm2.TPMAlgSHA256, 16, tpm2.Trial())
	if err != nil {
		return nil, err
	}
	defer func() { _ = done() }()
	if _, err := (tpm2.PolicyPCR{PolicySession: session.Handle(), Pcrs: selection(pcrs)}).Execute(t); err != nil {
		return nil, fmt.Errorf("PCR policy: %w", err)
	}
	digest, err := tpm2.PolicyGetDigest{PolicySession: session.Handle()}.Execute(t)
	if err != nil {
		return nil, err
	}
	return digest.PolicyDigest.Buffer, nil
}
