package tpm

import (
	"crypto"
	_ "crypto/sha256" // linked for Bank.Hash
	_ "crypto/sha512"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"
)

// A Bank is the set of PCRs that are extended by one hash algorithm.
type Bank string

// The banks that evidence may rest on. SHA-1 is none of them.
const (
	SHA256 Bank = "sha256"
	SHA384 Bank = "sha384"
)

// Banks are all of them, in the order of preference.
func Banks() []Bank { return []Bank{SHA256, SHA384} }

// ID is the TCG's number of the algorithm.
func (b Bank) ID() tpm2.TPMAlgID {
	if b == SHA384 {
		return tpm2.TPMAlgSHA384
	}
	return tpm2.TPMAlgSHA256
}

// Hash is what extends the bank.
func (b Bank) Hash() crypto.Hash {
	if b == SHA384 {
		return crypto.SHA384
	}
	return crypto.SHA256
}

// Measured is digest in the bank's size: a shorter one is padded with zeros,
// as init-data digests are for other registers.
func (b Bank) Measured(digest []byte) []byte {
	out := make([]byte, b.Hash().Size())
	copy(out, digest)
	return out
}

// Extended is the value of a PCR that held value before digest was measured.
func (b Bank) Extended(value, digest []byte) []byte {
	h := b.Hash().New()
	h.Write(value)
	h.Write(digest)
	return h.Sum(nil)
}

// BankOf names the bank that id extends. The text tells what other banks are,
// and ok is false for them.
func BankOf(id tpm2.TPMAlgID) (b Bank, ok bool) {
	switch id {
	case tpm2.TPMAlgSHA256:
		return SHA256, true
	case tpm2.TPMAlgSHA384:
		return SHA384, true
	case tpm2.TPMAlgSHA1:
		return "sha1", false
	case tpm2.TPMAlgSHA512:
		return "sha512", false
	}
	return Bank(fmt.Sprintf("algorithm %#04x", uint16(id))), false
}

// SignatureHash is the hash that a signature is over.
func SignatureHash(s *tpm2.TPMTSignature) (crypto.Hash, error) {
	var id tpm2.TPMIAlgHash
	switch s.SigAlg {
	case tpm2.TPMAlgRSASSA, tpm2.TPMAlgRSAPSS:
		rsa, err := rsaSignature(s)
		if err != nil {
			return 0, err
		}
		id = rsa.Hash
	case tpm2.TPMAlgECDSA:
		ecdsa, err := s.Signature.ECDSA()
		if err != nil {
			return 0, err
		}
		id = ecdsa.Hash
	default:
		return 0, fmt.Errorf("signature of algorithm %#x, expected RSASSA, RSAPSS or ECDSA", uint16(s.SigAlg))
	}
	b, ok := BankOf(id)
	if !ok {
		return 0, fmt.Errorf("signature over %s, expected sha256 or sha384", b)
	}
	return b.Hash(), nil
}

func rsaSignature(s *tpm2.TPMTSignature) (*tpm2.TPMSSignatureRSA, error) {
	if s.SigAlg == tpm2.TPMAlgRSAPSS {
		return s.Signature.RSAPSS()
	}
	return s.Signature.RSASSA()
}

// keptBanks asks the TPM which banks have PCRs (TPM 2.0 Part 3, 30.2).
func (a *Attester) keptBanks() ([]Bank, error) {
	if a.kept != nil {
		return a.kept, nil
	}
	rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapPCRs, PropertyCount: 1}.Execute(a.tpm)
	if err != nil {
		return nil, fmt.Errorf("ask for PCR banks: %w", err)
	}
	list, err := rsp.CapabilityData.Data.AssignedPCR()
	if err != nil {
		return nil, fmt.Errorf("ask for PCR banks: %w", err)
	}
	for _, s := range list.PCRSelections {
		if b, ok := BankOf(s.Hash); ok && slices.Equal(s.PCRSelect, []byte{0xff, 0xff, 0xff}) {
			a.kept = append(a.kept, b)
		}
	}
	if a.kept == nil {
		return nil, errors.New("the TPM keeps neither a sha256 nor a sha384 bank of 24 PCRs")
	}
	return a.kept, nil
}

func (a *Attester) chooseBanks() error {
	kept, err := a.keptBanks()
	if err != nil {
		return err
	}
	for _, b := range Banks() {
		if len(a.banks) == 0 && slices.Contains(kept, b) {
			a.banks = []Bank{b}
		}
	}
	for _, b := range a.banks {
		if !slices.Contains(kept, b) {
			return fmt.Errorf("the TPM keeps no %s bank, only %v", b, kept)
		}
	}
	return nil
}
