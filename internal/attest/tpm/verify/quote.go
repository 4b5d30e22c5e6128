package verify

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
)

// A Quote is one whose signature and PCR values were verified. By whose key,
// and for which handshake, is for the caller to judge.
type Quote struct {
	Nonce  []byte
	PCRs   [tpm.PCRs][sha256.Size]byte
	Signer []byte // the qualified name that the message gives its signer
}

// VerifyQuote checks that key signed a quote of all 24 PCRs, and that they had
// the values shown.
func VerifyQuote(q api.TPMQuote, key *rsa.PublicKey) (*Quote, error) {
	message, err := base64.StdEncoding.DecodeString(q.Message)
	if err != nil {
		return nil, fmt.Errorf("%w: quote message: %w", attest.ErrMalformed, err)
	}
	if err := verifySignature(q.Signature, message, key); err != nil {
		return nil, err
	}
	quoted, err := parse[tpm2.TPMSAttest](message)
	if err != nil {
		return nil, fmt.Errorf("%w: quote message: %w", attest.ErrMalformed, err)
	}
	if quoted.Magic != tpm2.TPMGeneratedValue || quoted.Type != tpm2.TPMSTAttestQuote {
		return nil, fmt.Errorf("%w: the signed message is not a quote (magic %#x, type %#x)", attest.ErrMalformed, uint32(quoted.Magic), uint16(quoted.Type))
	}
	info, err := quoted.Attested.Quote()
	if err != nil {
		return nil, fmt.Errorf("%w: quote message: %w", attest.ErrMalformed, err)
	}
	if !bytes.Equal(tpm2.Marshal(info.PCRSelect), tpm2.Marshal(tpm.AllPCRs())) {
		return nil, attest.ErrPCRSelection
	}
	out := &Quote{Nonce: quoted.ExtraData.Buffer, Signer: quoted.QualifiedSigner.Buffer}
	return out, out.readPCRs(q.PCRs, info.PCRDigest.Buffer)
}

// verifySignature accepts RSASSA with SHA-256 only, as Trustee does.
func verifySignature(text string, message []byte, key *rsa.PublicKey) error {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return fmt.Errorf("%w: quote signature: %w", attest.ErrMalformed, err)
	}
	signature, err := parse[tpm2.TPMTSignature](data)
	if err != nil {
		return fmt.Errorf("%w: quote signature: %w", attest.ErrMalformed, err)
	}
	if signature.SigAlg != tpm2.TPMAlgRSASSA {
		return fmt.Errorf("%w: algorithm is %#x, expected RSASSA", attest.ErrSignature, uint16(signature.SigAlg))
	}
	rsassa, err := signature.Signature.RSASSA()
	if err != nil {
		return fmt.Errorf("%w: quote signature: %w", attest.ErrMalformed, err)
	}
	if rsassa.Hash != tpm2.TPMAlgSHA256 {
		return fmt.Errorf("%w: hash is %#x, expected SHA-256", attest.ErrSignature, uint16(rsassa.Hash))
	}
	sum := sha256.Sum256(message)
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], rsassa.Sig.Buffer); err != nil {
		return fmt.Errorf("%w: quote: %w", attest.ErrSignature, err)
	}
	return nil
}

func (q *Quote) readPCRs(values []string, digest []byte) error {
	if len(values) != len(q.PCRs) {
		return fmt.Errorf("%w: %d PCR values, expected %d", attest.ErrMalformed, len(values), len(q.PCRs))
	}
	sum := sha256.New()
	for i, text := range values {
		value, err := hex.DecodeString(text)
		if err != nil || len(value) != sha256.Size {
			return fmt.Errorf("%w: PCR %d is not 64 hex digits", attest.ErrMalformed, i)
		}
		copy(q.PCRs[i][:], value)
		sum.Write(value)
	}
	if !bytes.Equal(sum.Sum(nil), digest) {
		return attest.ErrPCRDigest
	}
	return nil
}
