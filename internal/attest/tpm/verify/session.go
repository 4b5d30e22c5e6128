package verify

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	exact "github.com/go-json-experiment/json"

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
	quote, err := s.verifier.quote(e.Quote, s.offer.akPublic)
	if err != nil {
		return nil, err
	}
	if err := s.bind(e, quote, bound); err != nil {
		return nil, err
	}
	s.verifier.activated.put(string(s.offer.akName), s.offer.fingerprint)
	claims := s.offer.claims(e, quote, bound)
	if len(e.EventLog) > 0 {
		if err := explain(e.EventLog, quote, claims); err != nil {
			return nil, err
		}
	}
	return claims, nil
}

// quote checks a quote and that it has the banks that are wanted.
func (v *Verifier) quote(q api.TPMQuote, key publicKey) (*Quote, error) {
	quote, err := VerifyQuote(q, key)
	if err != nil {
		return nil, err
	}
	for _, b := range v.banks {
		if !slices.Contains(quote.Banks, b) {
			return nil, &attest.BankError{Missing: string(b)}
		}
	}
	return quote, nil
}

// fresh says whether q is for this handshake, and if not, what it is.
func (v *Verifier) fresh(q *Quote, bound attest.Binding) error {
	nonce := string(q.Nonce)
	_, seen := v.seen.get(nonce)
	switch {
	case isFor(q, bound):
		v.seen.put(nonce, struct{}{})
		return nil
	case seen:
		return attest.ErrSeen
	}
	return attest.ErrNonce
}

// Parse reads evidence without judging it. Its members have the very names that
// they are written with, and each stands once.
func Parse(evidence json.RawMessage) (*api.TPMEvidence, error) {
	e := &api.TPMEvidence{}
	if err := exact.Unmarshal(evidence, e); err != nil {
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
	stale := s.verifier.fresh(q, bound)
	answered := hmac.Equal(e.ActivationHMAC, tpm.ActivationMAC(s.secret, bound.RuntimeDigest))
	home, moved := s.verifier.activated.get(string(s.offer.akName))
	switch {
	case stale != nil && answered:
		return attest.ErrReplay
	case stale != nil:
		return stale
	case !answered && moved && home != s.offer.fingerprint:
		return attest.ErrOtherDevice
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
	for _, b := range q.Banks {
		got := q.Values(b)[tpm.InitDataPCR]
		want := b.Extended(make([]byte, b.Hash().Size()), b.Measured(bound.InitDataDigest))
		if same := bytes.Equal(got, want); !same {
			return fmt.Errorf("%w: it holds %x, and would hold %x after init-data %x", attest.ErrInitData, got, want, bound.InitDataDigest)
		}
	}
	return nil
}

// claims are those that Trustee has, under its names, and those about the TPM.
func (o offer) claims(e *api.TPMEvidence, q *Quote, bound attest.Binding) attest.Claims {
	c := q.claims(e, bound)
	c["activated"] = true
	c["ak_name"] = hex.EncodeToString(o.akName)
	c["ek_certificate"] = o.fingerprint
	c["tpm"] = o.device
	return c
}

// pcrNames are the claims of the PCRs.
var pcrNames = func() (names [tpm.PCRs]string) {
	for i := range names {
		names[i] = fmt.Sprintf("pcr%02d", i)
	}
	return names
}()

// claims are those of the quote alone.
func (q *Quote) claims(e *api.TPMEvidence, bound attest.Binding) attest.Claims {
	const most = tpm.PCRs + 16
	c := make(attest.Claims, most)
	c["report_data"], c["ak_public"] = hex.EncodeToString(q.Nonce), e.AKPublic
	c["activated"], c["banks"] = false, q.Banks
	if bound.InitDataDigest != nil {
		c["init_data_digest"] = hex.EncodeToString(bound.InitDataDigest)
	}
	other := map[string][]string{}
	for _, b := range q.Banks {
		if b != tpm.SHA256 {
			other[string(b)] = q.quoted[b].texts
			continue
		}
		for i, text := range q.quoted[b].texts {
			c[pcrNames[i]] = text
		}
	}
	if value, ok := c[pcrNames[tpm.InitDataPCR]]; ok {
		c["init_data"] = value
	}
	if len(other) > 0 {
		c["pcrs"] = other
	}
	return c
}
