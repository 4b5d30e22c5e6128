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

	"holdfast/internal/chip"
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
	err := m.withRoot(ctx, func(t transport.TPM, root *chip.Primary) error {
		made, err := create(t, root, key, o.PCRs)
		p.Public, p.Private = made.Public, made.Private
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
	err := m.withRoot(ctx, func(_ transport.TPM, root *chip.Primary) (err error) {
		key, err = unseal(root, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return seal.Soft(id, key)
}

// withRoot works under the primary key of the owner hierarchy that others
// share: TCG TPM v2.0 Provisioning Guidance, section 7.5.1.
func (m masters) withRoot(ctx context.Context, do func(transport.TPM, *chip.Primary) error) (err error) {
	t, err := m.config.Open(ctx)
	if err != nil {
		return fmt.Errorf("open the TPM: %w", err)
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	return chip.Under(t, tpm2.ECCSRKTemplate, func(root *chip.Primary) error { return do(t, root) })
}

func create(t transport.TPM, root *chip.Primary, key []byte, pcrs []uint) (s chip.Sealed, err error) {
	var policy []byte
	if len(pcrs) > 0 {
		if policy, err = chip.Policy(t, selection(pcrs), nil); err != nil {
			return s, err
		}
	}
	return root.Seal(key, policy, tpm2.TPMAObject{})
}

func unseal(root *chip.Primary, p params) ([]byte, error) {
	var pcrs *tpm2.TPMLPCRSelection
	if len(p.PCRs) > 0 {
		list := selection(p.PCRs)
		pcrs = &list
	}
	key, err := root.Unseal(chip.Sealed{Public: p.Public, Private: p.Private}, pcrs)
	switch {
	case errors.Is(err, chip.ErrForm):
		return nil, fmt.Errorf("the record: %w", err)
	case pcrs != nil && errors.Is(err, tpm2.TPMRCPolicyFail):
		return nil, fmt.Errorf("%w: %v", ErrPCRs, p.PCRs)
	}
	return key, err
}

func selection(pcrs []uint) tpm2.TPMLPCRSelection {
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(pcrs...)}}}
}
