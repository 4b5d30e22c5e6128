package api

import "time"

// StandingsPath is where administrators say how far an image is trusted: POST
// an ImageStanding.
const StandingsPath = KBSPrefix + "/holdfast/images"

// StandingKind is of what a broker keeps in versions: an ImageStanding by its
// UKI.
const StandingKind = "standing"

// An ImageStanding is what an administrator says of an image beside trusting
// its reference values: it holds for all that there are of it.
type ImageStanding struct {
	UKI     string            `json:"uki"`   // sha256:…: the image itself; the envelope's ID where that names none
	Image   string            `json:"image"` // its name
	Until   *time.Time        `json:"until,omitempty"`
	Revoked *ImageRevocation  `json:"revoked,omitempty"`
	Shows   map[string]string `json:"shows"` // what evidence shows of it, set by the broker: value → kind
}

// An ImageRevocation ends trust in an image at once.
type ImageRevocation struct {
	At     time.Time `json:"at"` // set by the broker
	Reason string    `json:"reason"`
}

// The states of a KnownImage.
const (
	ImageTrusted = "trusted"
	ImageExpired = "expired"
	ImageRevoked = "revoked"
)

// A KnownImage is what policies are told of an image: how far it is trusted,
// and which reference values there are of it.
type KnownImage struct {
	Status     string   `json:"status"`
	Image      string   `json:"image"`
	UKI        string   `json:"uki"`
	References []string `json:"references"`       // IDs
	At         string   `json:"at,omitempty"`     // when it expired or was revoked: RFC 3339
	Reason     string   `json:"reason,omitempty"` // why it was revoked
	// RebuiltBy are those whose statements about it hold, by name.
	RebuiltBy []Rebuilder `json:"rebuilt_by,omitempty"`
}
