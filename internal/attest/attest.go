// Package attest turns what a machine's hardware says into claims that a
// policy can judge.
//
// Evidence is bound to one handshake: it signs a digest over the verifier's
// nonce and the machine's ephemeral key (RuntimeDigest). A Verifier judges the
// evidence of one kind of hardware; the packages below this one hold a kind
// each, the half that makes evidence apart from the half that verifies it,
// because the first is linked into every machine.
package attest

import (
	"encoding/json"

	"holdfast/internal/api"
)

// Claims are what a verifier concludes from evidence: a JSON object, named as
// Trustee names them where it has the same claim.
type Claims map[string]any

// A Verifier judges the evidence of one kind of hardware.
type Verifier interface {
	// TEE is the kind's name in the KBS protocol.
	TEE() string
	// Begin answers a machine's request. It refuses a machine that cannot
	// succeed whatever evidence it sends.
	Begin(request api.RequestParams) (Session, error)
}

// A Session is one handshake between Begin and the evidence. It holds a secret
// and is good for one machine; whoever keeps it must forget it after Verify.
type Session interface {
	// Challenge is what the machine must be told beside the nonce.
	Challenge() api.ChallengeParams
	// Verify returns the claims of the primary evidence, or an error that
	// wraps one of this package's.
	Verify(evidence json.RawMessage, bound Binding) (Claims, error)
}

// A Keeper is a Session with a state that its Verifier, a Resumer, knows again:
// between request and evidence it waits outside the broker, sealed. A session
// that is none is made anew by Begin.
type Keeper interface {
	Session
	// Keep returns what Resume needs beside the request: at most a few
	// hundred bytes, for they travel in a cookie.
	Keep() []byte
}

// A Resumer is a Verifier whose sessions are Keepers.
type Resumer interface {
	Verifier
	// Resume is given the request that Begin found good, and what the session
	// kept; nobody has changed either.
	Resume(request api.RequestParams, kept []byte) (Session, error)
}

// A Classed is a Verifier of other devices than processors. The class names
// the device in the token (gpu0) and the policy that judges it.
type Classed interface{ Class() string }

// ClassOf is the class of what v judges: cpu, unless v says otherwise.
func ClassOf(v Verifier) string {
	if c, ok := v.(Classed); ok {
		return c.Class()
	}
	return "cpu"
}

// Classes are those of Trustee's policies (EarAttestationTokenBroker::new).
func Classes() []string { return []string{"cpu", "gpu", "switch", "ppcie"} }

// A Binding is what evidence has to be bound to.
type Binding struct {
	RuntimeDigest  []byte // as RuntimeDigest computes it
	InitDataDigest []byte // of the init-data document, by its own algorithm; nil when none was sent
	// InitDataAlgorithm is that algorithm: sha256, sha384 or sha512.
	InitDataAlgorithm string
}
