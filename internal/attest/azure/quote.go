package azure

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
)

// verify checks that key signed a quote of these PCRs for the handshake.
// Trustee asks for no more of the selection than that the values fit; here it
// must be all 24 of SHA-256, or a value could stand for another register.
func (q *quote) verify(key *rsa.PublicKey, digest []byte) error {
	sum := sha256.Sum256(q.Message)
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], q.Signature); err != nil {
		return fmt.Errorf("%w: quote of the vTPM: %w", attest.ErrSignature, err)
	}
	quoted, err := tpm2.Unmarshal[tpm2.TPMSAttest](q.Message)
	if err != nil {
		return fmt.Errorf("%w: quote of the vTPM: %w", attest.ErrMalformed, err)
	}
	if quoted.Magic != tpm2.TPMGeneratedValue || quoted.Type != tpm2.TPMSTAttestQuote {
		return fmt.Errorf("%w: the vTPM signed no quote (magic %#x, type %#x)", attest.ErrMalformed, uint32(quoted.Magic), uint16(quoted.Type))
	}
	info, err := quoted.Attested.Quote()
	if err != nil {
		return fmt.Errorf("%w: quote of the vTPM: %w", attest.ErrMalformed, err)
	}
	if len(digest) == 0 || !bytes.Equal(quoted.ExtraData.Buffer, digest) {
		return attest.ErrNonce
	}
	if !bytes.Equal(tpm2.Marshal(info.PCRSelect), tpm2.Marshal(tpm.AllPCRs(tpm.SHA256))) || len(q.PCRs) != tpm.PCRs {
		return attest.ErrPCRSelection
	}
	values := sha256.New()
	for i, pcr := range q.PCRs {
		if len(pcr) != sha256.Size {
			return fmt.Errorf("%w: PCR %d has %d bytes, expected %d", attest.ErrMalformed, i, len(pcr), sha256.Size)
		}
		values.Write(pcr)
	}
	if !bytes.Equal(values.Sum(nil), info.PCRDigest.Buffer) {
		return attest.ErrPCRDigest
	}
	return nil
}

// configured checks that the init-data document, and it alone, is in PCR 8.
func (q *quote) configured(bound attest.Binding) error {
	if bound.InitDataDigest == nil {
		return nil
	}
	want := sha256.Sum256(append(make([]byte, sha256.Size), attest.Fit(bound.InitDataDigest, sha256.Size)...))
	if got := q.PCRs[tpm.InitDataPCR]; !bytes.Equal(got, want[:]) {
		return fmt.Errorf("%w: it holds %x, and would hold %x after init-data %x", attest.ErrInitData, got, want, bound.InitDataDigest)
	}
	return nil
}

// claim adds what the vTPM says to what the hardware does, as Trustee: init_data
// and report_data are then the vTPM's.
func (q *quote) claim(claims attest.Claims, bound attest.Binding) {
	pcrs := map[string]any{}
	for i, pcr := range q.PCRs {
		pcrs[fmt.Sprintf("pcr%02d", i)] = hex.EncodeToString(pcr)
	}
	claims["tpm"] = pcrs
	claims["init_data"] = hex.EncodeToString(q.PCRs[tpm.InitDataPCR])
	claims["report_data"] = hex.EncodeToString(bound.RuntimeDigest)
	if bound.InitDataDigest != nil {
		claims["init_data_digest"] = hex.EncodeToString(bound.InitDataDigest)
	}
}
