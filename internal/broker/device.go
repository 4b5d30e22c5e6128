package broker

import (
	"strings"
	"time"

	"holdfast/internal/attest"
)

// A device is what verified evidence came from: what a machine says of itself
// names none, else it could spend another's share. The zero one is not known.
type device struct {
	name   string
	shared bool // a processor, which carries many machines
}

// perProcessor is how many devices a processor counts as.
const perProcessor = 64

// deviceClaims tell devices apart, the first that is there.
var deviceClaims = []struct {
	name   string
	shared bool
}{
	{"ek_certificate", false},      // of a TPM that activated a credential
	{"ak_public", false},           // of one whose key is listed
	{"chip_id", true},              // AMD's
	{"platform_provider_id", true}, // Intel's PPID
}

// deviceOf names the device behind claims. One whose number is all zeros hides
// it (MaskChipId; SEV-SNP ABI, MSG_REPORT_REQ): it shares it with every other
// that does, which is no reason to have them wait for each other.
func deviceOf(claims attest.Claims) device {
	for _, c := range deviceClaims {
		if id, _ := claims[c.name].(string); strings.Trim(id, "0") != "" {
			return device{c.name + " " + id, c.shared}
		}
	}
	return device{}
}

// times is the rate of n at once.
func (r Rate) times(n int) Rate { return Rate{r.Every / time.Duration(n), r.Burst * n} }

func (b brakes) attested(d device, now time.Time) error {
	if d.shared {
		return b.processor.check(d.name, "processor", now)
	}
	return b.device.check(d.name, "device", now)
}
