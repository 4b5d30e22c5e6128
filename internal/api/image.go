package api

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
}
