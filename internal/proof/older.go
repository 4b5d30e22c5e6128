package proof

import (
	"encoding/json"

	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm/verify"
)

// asJudged are the claims that a verifier of the proof's time would have told:
// those of today, or fewer when the proof is from before there were so many.
func asJudged(claims attest.Claims, input json.RawMessage) attest.Claims {
	var given struct {
		Claims struct {
			Activated *bool `json:"activated"`
		} `json:"claims"`
	}
	if err := json.Unmarshal(input, &given); err == nil && given.Claims.Activated == nil && claims != nil {
		return verify.FirstClaims(claims)
	}
	return claims
}
