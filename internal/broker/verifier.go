package broker

import (
	"context"
	"encoding/json"

	"holdfast/internal/api"
)

// A Verifier turns the evidence of one kind of TEE into claims.
type Verifier interface {
	// Challenge answers an offer to prove that an attestation key lives in an
	// endorsed TPM. The secret is what only that TPM can recover.
	Challenge(offer *api.ActivationOffer) (secret []byte, challenge *api.ActivationChallenge, err error)
	// Verify checks evidence and returns what it says: pcr00 to pcr23,
	// ak_public, init_data, report_data (the names Trustee uses) and
	// ek_fingerprint.
	Verify(ctx context.Context, e Evidence) (claims map[string]any, err error)
}

// Evidence is what a machine sent, and what it must be bound to.
type Evidence struct {
	Primary       json.RawMessage      // the primary device's evidence
	RuntimeDigest []byte               // SHA-384 of the canonical runtime data
	InitData      []byte               // SHA-256 of the init-data document; nil when none was sent
	Offer         *api.ActivationOffer // as in the request
	Secret        []byte               // as returned by Challenge
}
