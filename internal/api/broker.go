package api

import (
	"encoding/json"
	"time"
)

// The broker's endpoints that are not part of the KBS protocol. All need an
// administrator's token.
const (
	ConfigurationsPath = KBSPrefix + "/holdfast/configurations" // GET, POST; DELETE …/sha256:…
	ResourcesPath      = KBSPrefix + "/holdfast/resources"      // GET
	HistoryPath        = KBSPrefix + "/holdfast/history"        // GET …/KIND: a list of Version; …/KIND/NUMBER: one, with content
	RollbackPath       = KBSPrefix + "/holdfast/rollback"       // POST: Rollback → the numbers of the versions that it made
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
	// How far it is trusted now.
	Status  string           `json:"status"`
	Until   *time.Time       `json:"until,omitempty"`
	Revoked *ImageRevocation `json:"revoked,omitempty"`
	// RebuiltBy are those whose statements about it hold now.
	RebuiltBy []Rebuilder `json:"rebuilt_by,omitempty"`
}

// The decisions of an AuditEntry.
const (
	AuditAllow  = "allow"
	AuditRefuse = "refuse"
)

// An AuditEntry is one line of the audit log: a decision, what it was about
// and why. It holds no secret.
type AuditEntry struct {
	// Seq counts lines from 1, and Prev is sha256:HEX of all from the
	// beginning of the line before to this one, without the line's end:
	// docs/formats/audit.md.
	Seq  int64  `json:"seq,omitempty"`
	Prev string `json:"prev,omitempty"`

	Time     time.Time    `json:"time"`
	Action   string       `json:"action"` // attest, get-resource, set-resource, authorise-configuration, …
	Decision string       `json:"decision"`
	Reasons  []string     `json:"reasons,omitempty"`
	Session  string       `json:"session,omitempty"` // stands for the session; also the token's jti
	Peer     string       `json:"peer,omitempty"`    // address of the other side
	Actor    string       `json:"actor,omitempty"`   // of an administrator's action
	Offered  string       `json:"offered_ek,omitempty"`
	Claims   *AuditClaims `json:"claims,omitempty"` // present when the evidence was verified
	// Devices are the kinds of evidence of additional devices that were affirmed.
	Devices []string `json:"devices,omitempty"`
	// Warning marks a decision that rests on evidence which proves nothing.
	Warning string `json:"warning,omitempty"`
	// InitData is the digest of the configuration the machine says it has;
	// proved when Claims is present.
	InitData string `json:"init_data,omitempty"`
	// Image is the UKI, sha256:…, of the trusted image that evidence showed.
	Image    string `json:"image,omitempty"`
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
	// Checkpoint is an envelope of a signed AuditCheckpoint.
	Checkpoint json.RawMessage `json:"checkpoint,omitempty"`
}

// The actions by which the audit log tells of itself.
const (
	AuditBegin      = "begin-chain" // lines of before, which are not chained, end here
	AuditGap        = "gap"         // the log was found to lack lines that had been written
	AuditCheckpoint = "checkpoint"
)

// AuditCheckpointType is the predicate type of an AuditHead: all of the log up
// to that line was so when it was signed.
const AuditCheckpointType = "urn:holdfast:audit-checkpoint:v1"

// An AuditHead names a line of the audit log: its number and the SHA-256 of its
// bytes, sha256:HEX.
type AuditHead struct {
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"`
}

// AuditClaims are the verified claims that tell machines apart.
type AuditClaims struct {
	PCRs map[string]string `json:"pcrs"` // number to 64 hex digits
	EK   string            `json:"ek"`   // fingerprint of the endorsement key
}
