package verify

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
)

// maxEventLog bounds the log that is read; firmware reserves 64 KiB for its own.
const maxEventLog = 1 << 20

// Verify implements attest.Session.
func (s *session) Verify(evidence json.RawMessage, bound attest.Binding) (attest.Claims, error) {
	e, err := Parse(evidence)
	if err != nil {
		return nil, err
	}
	if err := s.offer.made(e); err != nil {
		return nil, err
	}
	quote, err := VerifyQuote(e.Quote, s.offer.akPublic)
	if err != nil {
		return nil, err
	}
	if err := s.bind(e, quote, bound); err != nil {
		return nil, err
	}
	claims := s.offer.claims(e, quote, bound)
	if len(e.EventLog) > 0 {
		if err := explain(e.EventLog, quote, claims); err != nil {
			return nil, err
		}
	}
	return claims, nil
}

// Parse reads evidence without judging it.
func Parse(evidence json.RawMessage) (*api.TPMEvidence, error) {
	e := &api.TPMEvidence{}
	if err := json.Unmarshal(evidence, e); err != nil {
		return nil, fmt.Errorf("%w: %w", attest.ErrMalformed, err)
	}
	if len(e.EventLog) > maxEventLog {
		return nil, fmt.Errorf("%w: event log has %d bytes, at most %d are read", attest.ErrMalformed, len(e.EventLog), maxEventLog)
	}
	return e, nil
}

// bind checks that the quote is for this handshake, by a key in the endorsed
// TPM, and on a machine with this configuration.
func (s *session) bind(e *api.TPMEvidence, q *Quote, bound attest.Binding) error {
	fresh := isFor(q, bound)
	answered := hmac.Equal(e.ActivationHMAC, tpm.ActivationMAC(s.secret, bound.RuntimeDigest))
	switch {
	case !fresh && answered:
		return attest.ErrReplay
	case !fresh:
		return attest.ErrNonce
	case !answered && !isPrimary(s.offer.akName, q.Signer):
		return attest.ErrSigner
	case !answered:
		return attest.ErrActivation
	}
	return configured(q, bound)
}

// isFor says whether q is over the handshake's nonce and ephemeral key.
func isFor(q *Quote, bound attest.Binding) bool {
	return len(bound.RuntimeDigest) >= sha256.Size && bytes.Equal(q.Nonce, bound.RuntimeDigest[:sha256.Size])
}

// configured checks that the init-data document, and it alone, is in PCR 8.
func configured(q *Quote, bound attest.Binding) error {
	if bound.InitDataDigest == nil {
		return nil
	}
	want := sha256.Sum256(append(make([]byte, sha256.Size), bound.InitDataDigest...))
	if got := q.PCRs[tpm.InitDataPCR]; got != want {
		return fmt.Errorf("%w: it holds %x, and would hold %x after init-data %x", attest.ErrInitData, got, want, bound.InitDataDigest)
	}
	return nil
}

// claims are those that Trustee has, under its names, and those about the TPM.
func (o offer) claims(e *api.TPMEvidence, q *Quote, bound attest.Binding) attest.Claims {
	c := attest.Claims{
		"report_data":    hex.EncodeToString(q.Nonce),
		"init_data":      hex.EncodeToString(q.PCRs[tpm.InitDataPCR][:]),
		"ak_public":      e.AKPublic,
		"ak_name":        hex.EncodeToString(o.akName),
		"ek_certificate": o.fingerprint,
		"tpm":            o.device,
	}
	if bound.InitDataDigest != nil {
		c["init_data_digest"] = hex.EncodeToString(bound.InitDataDigest)
	}
	for i, value := range q.PCRs {
		c[fmt.Sprintf("pcr%02d", i)] = hex.EncodeToString(value[:])
	}
	return c
}
