package proof

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/attest/tpm"
)

// meanings of the PCRs: the TCG PC Client Platform Firmware Profile 1.05, 3.3.4,
// and the Linux TPM PCR Registry of the UAPI group.
var meanings = [tpm.PCRs]string{
	0: "the firmware's code", 1: "the firmware's settings", 2: "drivers on cards", 3: "their settings",
	4: "what the firmware started", 5: "boot manager and partition table", 6: "the machine's maker's own",
	7: "Secure Boot: state, keys, signer", 8: "the configuration", 9: "files that the kernel was given",
	10: "files that the kernel opened (IMA)", 11: "kernel, initramfs, command line", 12: "command-line overrides",
	13: "system extensions", 14: "keys of shim", 15: "disks and machine identity", 16: "debugging",
	17: "late launch", 18: "late launch", 19: "late launch", 20: "late launch", 21: "late launch", 22: "late launch",
	23: "applications",
}

// Meaning says in a few words what a PCR holds.
func Meaning(pcr int) string { return meanings[pcr] }

// An expectation is what a PCR should hold, and who says so.
type expectation struct{ value, source string }

// pcrs compares the signed PCRs with those that the reference values and the
// configuration lead to, whatever policy says.
func (c *checker) pcrs() {
	measured := c.review.Quote.PCRs
	values, boot, err := c.matching(func(n int) string { return hexOf(measured[n][:]) })
	if values != nil {
		c.report.Release.Image, c.report.Release.UKI, c.report.Release.RootHash = values.Image, values.UKI, values.RootHash
	}
	expected := c.expected(values, boot)
	var wrong []string
	for n := range measured {
		row := PCR{Number: n, Meaning: meanings[n], Measured: hexOf(measured[n][:]), Verdict: NotJudged}
		for _, e := range c.review.Events {
			if e.PCR != n || e.Type == "EV_NO_ACTION" {
				continue
			}
			if n == tpm.InitDataPCR && c.config != nil && e.Digest == hexOf(c.config.Sum) {
				e.Text, e.Proven = "the configuration in the proof", true
			}
			row.Events = append(row.Events, e)
		}
		if want, ok := expected[n]; ok {
			row.Expected, row.Source, row.Verdict = want.value, want.source, AsExpected
			if row.Measured != want.value {
				row.Verdict = Differs
				wrong = append(wrong, fmt.Sprintf("PCR %d (%s) is %s, expected %s", n, row.Meaning, row.Measured, want.value))
			}
		} else if blank(measured[n]) && len(row.Events) == 0 {
			row.Verdict = Untouched
		}
		c.report.PCRs = append(c.report.PCRs, row)
	}
	if len(wrong) > 0 {
		err = fmt.Errorf("%s", strings.Join(wrong, "; "))
	}
	if c.references != nil {
		c.report.check(checkPCRs, "PCRs 4, 7, 8, 11, 12 and 13 are those that the image and the configuration lead to", err)
	}
}

// blank says whether nothing was extended: dynamic PCRs begin with ones.
func blank(v [sha256.Size]byte) bool {
	return v == [sha256.Size]byte{} || strings.Trim(hexOf(v[:]), "f") == ""
}

// matching finds the image whose PCR 11 was measured and the way of booting it
// with the fewest differences.
func (c *checker) matching(measured func(int) string) (*api.ReferenceValues, *api.FirmwareReference, error) {
	var nearest *api.ReferenceValues
	for _, id := range slices.Sorted(maps.Keys(c.references)) {
		values := c.references[id]
		if nearest == nil || values.PCRs["11"] == measured(11) {
			nearest = values
		}
	}
	if nearest == nil {
		return nil, nil, nil
	}
	var best *api.FirmwareReference
	score := -1
	for i, boot := range nearest.Firmware {
		hits := 0
		for number, value := range boot.PCRs {
			if n, err := strconv.Atoi(number); err == nil && n < tpm.PCRs && n >= 0 && measured(n) == value {
				hits++
			}
		}
		if boot.SecureBoot && hits > score {
			best, score = &nearest.Firmware[i], hits
		}
	}
	if best == nil {
		return nearest, nil, fmt.Errorf("image %s has no reference values of a boot with Secure Boot on", nearest.Image)
	}
	return nearest, best, nil
}

// expected are the PCRs that somebody vouches for.
func (c *checker) expected(values *api.ReferenceValues, boot *api.FirmwareReference) map[int]expectation {
	want := map[int]expectation{}
	if c.config != nil {
		sum := sha256.Sum256(append(make([]byte, sha256.Size), c.config.Sum...))
		want[tpm.InitDataPCR] = expectation{hexOf(sum[:]), "the configuration in the proof, measured alone"}
	}
	zero := strings.Repeat("0", 2*sha256.Size)
	want[12] = expectation{zero, "nothing may be added to the command line"}
	want[13] = expectation{zero, "nothing may be added to the system"}
	if values == nil {
		return want
	}
	for _, from := range []struct {
		pcrs   map[string]string
		source string
		wanted []string
	}{
		{values.PCRs, "reference values of image " + values.Image, []string{"11", "12", "13"}},
		{firmwarePCRs(boot), "reference values of image " + values.Image + ", Secure Boot on", []string{"4", "7"}},
	} {
		for _, number := range from.wanted {
			n, _ := strconv.Atoi(number)
			want[n] = expectation{from.pcrs[number], from.source} // a value that is missing is never met
		}
	}
	return want
}

func firmwarePCRs(boot *api.FirmwareReference) map[string]string {
	if boot == nil {
		return nil
	}
	return boot.PCRs
}
