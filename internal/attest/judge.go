package attest

import (
	"encoding/json"

	"holdfast/internal/api"
)

// A Judge is a Session of hardware whose evidence needs no answer to a
// challenge of its own: the nonce, in what it signs, is enough.
type Judge func(evidence json.RawMessage, bound Binding) (Claims, error)

var _ Session = Judge(nil)

// Challenge names the digest of the runtime data.
func (Judge) Challenge() api.ChallengeParams {
	return api.ChallengeParams{SelectedHashAlgorithm: HashAlgorithm}
}

// Verify implements Session.
func (j Judge) Verify(evidence json.RawMessage, bound Binding) (Claims, error) {
	return j(evidence, bound)
}

// Fit gives digest the size of the field that holds it, as Trustee does
// (deps/verifier/src/lib.rs, regularize_data): zeros follow a short one, the
// end of a long one is lost.
func Fit(digest []byte, size int) []byte {
	field := make([]byte, size)
	copy(field, digest)
	return field
}
