package attack

import (
	"context"
	"encoding/json"

	"holdfast/internal/api"
	"holdfast/internal/attest/kbc"
	"holdfast/internal/attest/tpm/verify"
	"holdfast/internal/swtpm"
)

// genuine is evidence of a's TPM for a handshake of its own making: as near as
// one comes who cannot answer the broker's challenge.
func (s *site) genuine(ctx context.Context, a kbc.Attester, digest []byte) (json.RawMessage, error) {
	offer, err := a.Offer(ctx)
	if err != nil {
		return nil, err
	}
	roots, err := swtpm.CA(s.installation.TPMAuthority())
	if err != nil {
		return nil, err
	}
	verifier, err := verify.New(verify.Config{Roots: roots})
	if err != nil {
		return nil, err
	}
	session, err := verifier.Begin(api.RequestParams{Activation: offer})
	if err != nil {
		return nil, err
	}
	return a.Evidence(ctx, digest, session.Challenge().Activation)
}
