package api

import "time"

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

	// Expires is when the values stop being good; never when absent.
	Expires *time.Time `json:"expires,omitempty"`

	// What confidential machines show when they booted the image. The PCRs
	// above are then those of the vTPM in one, for evidence that has them.
	SNP []SNPReference `json:"snp,omitempty"`
	TDX []TDXReference `json:"tdx,omitempty"`
}

// An SNPReference is one way of launching an image under AMD SEV-SNP.
type SNPReference struct {
	Measurement string `json:"measurement"` // launch digest, 96 hex digits
	// MinimumTCB are the lowest security patch levels that will do, by part:
	// bootloader, tee, snp, microcode, and fmc on Turin. Each is compared with
	// the reported and the committed level. All but fmc must be named.
	MinimumTCB map[string]uint8 `json:"minimum_tcb"`
}

// A TDXReference is one way of launching an image under Intel TDX.
type TDXReference struct {
	MRTD  string            `json:"mr_td"` // 96 hex digits
	RTMRs map[string]string `json:"rtmrs"` // "0" to "3": 96 hex digits; at least "1" and "2"
	// TCBStatus are Intel's words for the platforms that will do; UpToDate
	// when there are none.
	TCBStatus []string `json:"tcb_status,omitempty"`
}

// A FirmwareReference holds the PCRs that depend on firmware and its keys.
type FirmwareReference struct {
	Firmware   string            `json:"firmware"` // sha256:… of the code volume
	SecureBoot bool              `json:"secure_boot"`
	PCRs       map[string]string `json:"pcrs"` // "4", "7"
}
