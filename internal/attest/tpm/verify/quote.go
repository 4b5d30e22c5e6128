package verify

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
)

// A Quote is one whose signature and PCR values were verified. By whose key,
// and for which handshake, is for the caller to judge.
type Quote struct {
	Nonce  []byte
	PCRs   [tpm.PCRs][sha256.Size]byte // of the SHA-256 bank; zeros when it was not quoted
	Banks  []tpm.Bank                  // that were quoted
	Signer []byte                      // the qualified name that the message gives its signer

	quoted map[tpm.Bank]bankValues
}

// bankValues are the 24 of a bank, and their texts in lower-case hex.
type bankValues struct {
	values [][]byte
	texts  []string
}

// Values are the 24 of a bank that was quoted.
func (q *Quote) Values(b tpm.Bank) [][]byte {
	if bank, ok := q.quoted[b]; ok || b != tpm.SHA256 {
		return bank.values
	}
	values := make([][]byte, len(q.PCRs))
	for i := range q.PCRs {
		values[i] = q.PCRs[i][:]
	}
	return values
}

// VerifyQuote checks that key signed a quote of all 24 PCRs of each bank in it,
// and that they had the values shown.
func VerifyQuote(q api.TPMQuote, key crypto.PublicKey) (*Quote, error) {
	message, err := base64.StdEncoding.DecodeString(q.Message)
	if err != nil {
		return nil, fmt.Errorf("%w: quote message: %w", attest.ErrMalformed, err)
	}
	hash, err := verifySignature(q.Signature, message, key)
	if err != nil {
		return nil, err
	}
	quoted, err := readStatement(message)
	if err != nil {
		return nil, fmt.Errorf("%w: quote message: %w", attest.ErrMalformed, err)
	}
	if quoted.magic != tpm2.TPMGeneratedValue || quoted.kind != tpm2.TPMSTAttestQuote {
		return nil, fmt.Errorf("%w: the signed message is not a quote (magic %#x, type %#x)", attest.ErrMalformed, uint32(quoted.magic), uint16(quoted.kind))
	}
	out := &Quote{Nonce: quoted.nonce, Signer: quoted.signer}
	if out.Banks, err = selected(quoted.selections); err != nil {
		return nil, err
	}
	return out, out.readPCRs(q, quoted.digest, hash)
}

// selected names the banks of a quote. One that shows a part of its PCRs hides
// the others.
func selected(selections []tpm2.TPMSPCRSelection) ([]tpm.Bank, error) {
	var banks []tpm.Bank
	for _, s := range selections {
		b, ok := tpm.BankOf(s.Hash)
		if !ok {
			return nil, &attest.BankError{Quoted: string(b)}
		}
		if slices.Contains(banks, b) || !bytes.Equal(s.PCRSelect, []byte{0xff, 0xff, 0xff}) {
			return nil, attest.ErrPCRSelection
		}
		banks = append(banks, b)
	}
	if len(banks) == 0 {
		return nil, attest.ErrPCRSelection
	}
	return banks, nil
}

// verifySignature returns the hash that the signature is over, which the TPM
// digested the PCR values with, too.
func verifySignature(text string, message []byte, key crypto.PublicKey) (crypto.Hash, error) {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return 0, fmt.Errorf("%w: quote signature: %w", attest.ErrMalformed, err)
	}
	sig, err := readSignature(data)
	if err != nil {
		return 0, fmt.Errorf("%w: quote signature: %w", attest.ErrMalformed, err)
	}
	b, ok := tpm.BankOf(sig.hash)
	if !ok {
		return 0, fmt.Errorf("%w: it is over %s, expected sha256 or sha384", attest.ErrSignature, b)
	}
	h := b.Hash().New()
	h.Write(message)
	if err := sig.verify(b.Hash(), h.Sum(nil), key); err != nil {
		return 0, fmt.Errorf("%w: quote: %w", attest.ErrSignature, err)
	}
	return b.Hash(), nil
}

func (s *signature) verify(hash crypto.Hash, digest []byte, key crypto.PublicKey) error {
	switch key := key.(type) {
	case *rsa.PublicKey:
		switch s.algorithm {
		case tpm2.TPMAlgRSASSA:
			return rsa.VerifyPKCS1v15(key, hash, digest, s.rsa)
		case tpm2.TPMAlgRSAPSS:
			return rsa.VerifyPSS(key, hash, digest, s.rsa, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto})
		}
	case *ecdsa.PublicKey:
		if s.algorithm != tpm2.TPMAlgECDSA {
			break
		}
		if !ecdsa.Verify(key, digest, new(big.Int).SetBytes(s.r), new(big.Int).SetBytes(s.s)) {
			return errors.New("ECDSA: verification error")
		}
		return nil
	}
	return fmt.Errorf("algorithm is %#x, and the key %T", uint16(s.algorithm), key)
}

// readPCRs checks the values shown against the digest that was signed.
func (q *Quote) readPCRs(shown api.TPMQuote, digest []byte, hash crypto.Hash) error {
	sum := hash.New()
	q.quoted = map[tpm.Bank]bankValues{}
	for _, b := range q.Banks {
		texts := shown.Banks[string(b)]
		if b == tpm.SHA256 {
			texts = shown.PCRs
		}
		bank, err := readValues(b, texts)
		if err != nil {
			return err
		}
		for i, value := range bank.values {
			sum.Write(value)
			if b == tpm.SHA256 {
				copy(q.PCRs[i][:], value)
			}
		}
		q.quoted[b] = bank
	}
	if !bytes.Equal(sum.Sum(nil), digest) {
		return attest.ErrPCRDigest
	}
	return nil
}

func readValues(b tpm.Bank, texts []string) (all bankValues, err error) {
	if len(texts) != tpm.PCRs {
		return all, fmt.Errorf("%w: %d PCR values of the %s bank, expected %d", attest.ErrMalformed, len(texts), b, tpm.PCRs)
	}
	size := b.Hash().Size()
	room := make([]byte, 0, len(texts)*size)
	all = bankValues{make([][]byte, len(texts)), make([]string, len(texts))}
	for i, text := range texts {
		if room, err = hex.AppendDecode(room, []byte(text)); err != nil || len(room) != (i+1)*size {
			return all, fmt.Errorf("%w: PCR %d of the %s bank is not %d hex digits", attest.ErrMalformed, i, b, 2*size)
		}
		all.values[i], all.texts[i] = room[i*size:(i+1)*size:(i+1)*size], strings.ToLower(text)
	}
	return all, nil
}
