package api

// ReferenceType is the in-toto predicate type of reference values.
const ReferenceType = "urn:holdfast:reference-values:v1"

// ReferenceValues say what evidence shows when a machine image has booted.
// They are the predicate of a statement whose subjects are the image's parts.
type ReferenceValues struct {
	Image    string              `json:"image"`    // the recipe's name
	Firmware []FirmwareReference `json:"firmware"` // one entry for each way of booting
	UKI      string              `json:"uki"`      // sha256:… of the UKI file
	RootHash string              `json:"root_hash"`
	// PCRs that do not depend on firmware: "11", and the zero PCRs "12", "13".
	PCRs map[string]string `json:"pcrs"` // number to 64 hex digits
}

// A FirmwareReference holds the PCRs that depend on firmware and its keys.
type FirmwareReference struct {
	Firmware   string            `json:"firmware"` // sha256:… of the code volume
	SecureBoot bool              `json:"secure_boot"`
	PCRs       map[string]string `json:"pcrs"` // "4", "7"
}
