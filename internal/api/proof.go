package api

import (
	"encoding/json"
	"time"
)

// ProofType is the in-toto predicate type of the proof of a release.
const ProofType = "urn:holdfast:release-proof:v1"

// ProofsPath is where a broker lists its proofs (ProofEntry each), and below
// which it has each by its ID. It needs an administrator's token.
const ProofsPath = KBSPrefix + "/holdfast/proofs"

// A ReleaseProof is what a broker states of one release: all that its decision
// rested on, so that a stranger can judge it again. It holds no secret. It is
// the predicate of a statement whose subjects have the names below.
type ReleaseProof struct {
	Release     ProofRelease     `json:"release"`
	Attestation ProofAttestation `json:"attestation,omitzero"`
	// Passport stands in place of Attestation when the machine showed the token
	// of another verifier.
	Passport *ProofPassport `json:"passport,omitempty"`
}

// A ProofPassport is what another verifier concluded of the machine. The evidence
// was never here.
type ProofPassport struct {
	Issuer  string `json:"issuer"`  // of the token
	Session string `json:"session"` // as in the audit log
	Token   string `json:"token"`   // the attestation result: a JWS
}

// The names of a proof's subjects.
const (
	SubjectConfiguration = "configuration"           // the init-data document
	SubjectEndorsement   = "endorsement-certificate" // of the machine's TPM
	SubjectMachineImage  = "uki.efi"                 // as the reference values have it
	SubjectToken         = "attestation-result"      // of another verifier
	SubjectWorkload      = "workload"                // the image's manifest, as the configuration has it
)

// A ProofRelease is the second half: the token was shown, and a resource given.
type ProofRelease struct {
	Time     time.Time     `json:"time"`     // whole seconds
	Resource string        `json:"resource"` // REPOSITORY/TYPE/TAG, or the plugin's path
	Plugin   string        `json:"plugin,omitempty"`
	Value    string        `json:"value"` // keyed digest, as in the audit log
	Policy   ProofDecision `json:"policy"`
}

// A ProofAttestation is the first half: evidence was judged, and a token made.
type ProofAttestation struct {
	Time    time.Time `json:"time"`    // whole seconds
	Session string    `json:"session"` // as in the audit log
	TEE     string    `json:"tee"`

	Offer   ActivationOffer `json:"offer"`   // in the machine's request
	Message KBSAttestation  `json:"message"` // evidence and configuration, as sent

	// EndorsementChain are DER certificates between the offered one and a root.
	EndorsementChain [][]byte `json:"endorsement_chain"`
	// References are envelopes of the reference values that policy was given.
	References [][]byte `json:"references"`

	Policy ProofDecision `json:"policy"`
	// Devices are those beside the machine's processor, by the kind of their
	// evidence, which Message has.
	Devices []ProofDevice `json:"devices,omitempty"`

	Token            string `json:"token"`             // the attestation result: a JWS
	TokenCertificate []byte `json:"token_certificate"` // DER, of the key that signed it
}

// A ProofDevice is how one device was judged.
type ProofDevice struct {
	TEE    string        `json:"tee"`
	Class  string        `json:"class"` // gpu, cpu, …: names it in the token
	Policy ProofDecision `json:"policy"`
}

// A ProofDecision is a policy, all that it was given and what it said. Data is
// as much of the broker's as leads to the same decision.
type ProofDecision struct {
	Policy string          `json:"policy"` // Rego source
	Input  json.RawMessage `json:"input"`
	Data   json.RawMessage `json:"data"`
	Allow  bool            `json:"allow"`
	Trust  map[string]int8 `json:"trust_claims,omitempty"`
	// Extensions are what the policy adds to the token, by name.
	Extensions map[string]any `json:"extensions,omitempty"`
}

// A ProofEntry is one line of a broker's list of proofs.
type ProofEntry struct {
	ID            string    `json:"id"`
	Time          time.Time `json:"time"`
	Session       string    `json:"session"`
	Resource      string    `json:"resource"`
	Configuration string    `json:"configuration"` // sha256:…
}
