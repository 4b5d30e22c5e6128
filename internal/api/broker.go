package api

import "time"

// The broker's endpoints that are not part of the KBS protocol. All need an
// administrator's token.
const (
	ConfigurationsPath = KBSPrefix + "/holdfast/configurations" // GET, POST; DELETE …/sha256:…
	ResourcesPath      = KBSPrefix + "/holdfast/resources"      // GET
	AuditPath          = KBSPrefix + "/holdfast/audit"          // GET: lines of JSON, an AuditEntry each
)

// ReferenceMessageType is the type of a reference-value message whose payload
// is a signed envelope of ReferenceValues.
const ReferenceMessageType = "holdfast"

// A Configuration is an init-data document, known by its digest, that an
// administrator has authorised to be given resources.
type Configuration struct {
	Digest    string    `json:"digest"`    // sha256:…
	Resources []string  `json:"resources"` // REPOSITORY/TYPE/TAG each
	Since     time.Time `json:"since"`     // set by the broker
}

// A TrustedImage is reference values and the digest of the envelope that
// brought them.
type TrustedImage struct {
	ID     string          `json:"id"` // sha256:…
	Values ReferenceValues `json:"values"`
}

// The decisions of an AuditEntry.
const (
	AuditAllow  = "allow"
	AuditRefuse = "refuse"
)

// An AuditEntry is one line of the audit log: a decision, what it was about
// and why. It holds no secret.
type AuditEntry struct {
	Time     time.Time    `json:"time"`
	Action   string       `json:"action"` // attest, get-resource, set-resource, authorise-configuration, …
	Decision string       `json:"decision"`
	Reasons  []string     `json:"reasons,omitempty"`
	Session  string       `json:"session,omitempty"` // stands for the session; also the token's jti
	Peer     string       `json:"peer,omitempty"`    // address of the other side
	Actor    string       `json:"actor,omitempty"`   // of an administrator's action
	Offered  string       `json:"offered_ek,omitempty"`
	Claims   *AuditClaims `json:"claims,omitempty"` // present when the evidence was verified
	// Warning marks a decision that rests on evidence which proves nothing.
	Warning string `json:"warning,omitempty"`
	// InitData is the digest of the configuration the machine says it has;
	// proved when Claims is present.
	InitData string `json:"init_data,omitempty"`
	Subject  string `json:"subject,omitempty"`  // the configuration, image or policy acted on
	Resource string `json:"resource,omitempty"` // REPOSITORY/TYPE/TAG, or PLUGIN/PATH
	// Resources are those that a configuration was authorised to have.
	Resources []string `json:"resources,omitempty"`
	// Value is a keyed digest of a resource's value: equal values of one
	// resource show as equal, and nobody without the broker's key can try
	// guesses.
	Value string `json:"value,omitempty"`
	// Proof is the ID of the proof of a release.
	Proof string `json:"proof,omitempty"`
}

// AuditClaims are the verified claims that tell machines apart.
type AuditClaims struct {
	PCRs map[string]string `json:"pcrs"` // number to 64 hex digits
	EK   string            `json:"ek"`   // fingerprint of the endorsement key
}
