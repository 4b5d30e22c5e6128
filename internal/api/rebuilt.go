package api

import "time"

// Where administrators say whose rebuilds count, and how many an image needs.
const (
	RebuildersPath   = KBSPrefix + "/holdfast/rebuilders"   // GET: []RebuilderKey; POST a RebuilderKey; DELETE …/NAME
	RebuildsPath     = KBSPrefix + "/holdfast/rebuilds"     // GET: []LoadedRebuild; POST an envelope; DELETE …/sha256:…
	RequirementsPath = KBSPrefix + "/holdfast/requirements" // GET, POST: Requirements
)

// The kinds of these among what a broker keeps in versions.
const (
	RebuilderKind   = "rebuilder"   // a public key in PEM by its owner's name
	RebuildKind     = "rebuild"     // envelopes by the SHA-256 of their bytes, sha256:HEX
	RequirementKind = "requirement" // Requirements by RequirementsName
)

// RequirementsName is what the one document of its kind is called.
const RequirementsName = "images"

// A RebuilderKey is who may say that he rebuilt an image.
type RebuilderKey struct {
	Name string `json:"name"`
	PEM  string `json:"pem"`           // PUBLIC KEY
	Key  string `json:"key,omitempty"` // its ID, set by the broker
}

// A LoadedRebuild is a statement that the broker holds, and for whom it counts.
type LoadedRebuild struct {
	ID       string     `json:"id"` // sha256:…
	UKI      string     `json:"uki"`
	RootHash string     `json:"root_hash"`
	Lock     string     `json:"lock,omitempty"`
	By       []string   `json:"by"` // names whose keys signed it; nobody any more when empty
	Until    *time.Time `json:"until,omitempty"`
	Expired  bool       `json:"expired,omitempty"`
}

// Requirements are what an image has to fulfil beside being trusted. Policies
// find them as data.requirements.
type Requirements struct {
	Rebuilders *RebuildersRequired `json:"rebuilders,omitempty"`
}

// RebuildersRequired is how many keys of these names must have rebuilt it.
type RebuildersRequired struct {
	Of      []string `json:"of"` // names, sorted
	AtLeast int      `json:"at_least"`
}

// A Rebuilder is who has rebuilt an image. One key may have two names.
type Rebuilder struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}
