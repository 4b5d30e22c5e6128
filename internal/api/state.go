package api

import (
	"encoding/json"
	"time"
)

// The kinds of what a broker keeps in versions.
const (
	PolicyKind        = "policy"        // by name: attestation, resource
	ReferenceKind     = "reference"     // envelopes by the SHA-256 of their bytes, sha256:HEX
	ConfigurationKind = "configuration" // a Configuration by its digest
	ValueKind         = "value"         // JSON by the name that policies ask for
)

// VersionedKinds lists them.
func VersionedKinds() []string {
	return []string{PolicyKind, ReferenceKind, ConfigurationKind, StandingKind, ValueKind, RebuilderKind, RebuildKind, RequirementKind, ContentsKind}
}

// A Version is one change of one thing that a broker keeps in versions. Each
// kind counts its own changes from 1.
type Version struct {
	Kind    string    `json:"kind"`
	Number  int64     `json:"version"`
	Name    string    `json:"name"`
	Time    time.Time `json:"time"`
	Actor   string    `json:"actor"`
	Comment string    `json:"comment,omitempty"`
	Digest  string    `json:"digest,omitempty"`  // sha256:HEX of the content; empty when it was removed
	Content []byte    `json:"content,omitempty"` // absent where only the change is told of
}

// Removed tells a version that took its thing away.
func (v Version) Removed() bool { return v.Digest == "" }

// A Rollback asks that a kind, or what is called Name of it, be as it was after
// a version.
type Rollback struct {
	Kind    string `json:"kind"`
	Version int64  `json:"version"`
	Name    string `json:"name,omitempty"`
	Comment string `json:"comment,omitempty"`
}

// A RecordedDecision is what a policy was asked and what it answered, so that
// another can be asked the same. It holds no secret.
type RecordedDecision struct {
	ID      int64           `json:"id"`
	Time    time.Time       `json:"time"`
	Session string          `json:"session"`
	Action  string          `json:"action"` // attest, get-resource
	TEE     string          `json:"tee,omitempty"`
	Kind    string          `json:"kind"`   // of the policy: attestation, resource
	Policy  int64           `json:"policy"` // version of the policies that decided; 0: the shipped ones
	Input   json.RawMessage `json:"input"`
	Data    json.RawMessage `json:"data"`
	Allow   bool            `json:"allow"`
	Reasons []string        `json:"reasons,omitempty"`
	Engine  string          `json:"engine,omitempty"` // what decided, and the language of the policy
}

// DecisionsPath is where administrators read decisions: GET
// …?after=ID&most=N.
const DecisionsPath = KBSPrefix + "/holdfast/decisions"

// PoliciesPath is where administrators read and set policies: GET …/KIND, POST
// …/KIND a PolicyChange.
const PoliciesPath = KBSPrefix + "/holdfast/policies"

// A PolicyInForce is a policy and where it is from.
type PolicyInForce struct {
	Kind    string `json:"kind"`
	Version int64  `json:"version"` // 0: the one that the broker ships
	Policy  string `json:"policy"`
	Engine  string `json:"engine,omitempty"`
	Error   string `json:"error,omitempty"` // why it cannot be asked, and so refuses everything
}

// A PolicyChange puts a policy in force: a new one, or that of a version, 0
// being the one that the broker ships.
type PolicyChange struct {
	Policy  string `json:"policy,omitempty"`
	Version *int64 `json:"version,omitempty"`
	Comment string `json:"comment,omitempty"`
}
