// Package able knows what configs may ask for, and this engine does on no
// machine.
//
// It judges a config when it is checked, and with the distribution's when it is
// fetched: before a disk or a kernel argument was touched.
package able

import (
	"encoding/json"
	"fmt"

	"github.com/coreos/ignition/v2/config/util"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/clevis"
	"holdfast/internal/ignition/spec"
)

// A Refusal is a field that nothing here acts on.
type Refusal struct {
	Path    []any  // of the config: names of JSON and indexes
	Problem string // without any value that may be a secret
}

// Refusals are all of a config.
func Refusals(c types.Config) (list []Refusal) {
	for i, l := range c.Storage.Luks {
		for _, r := range volume(l) {
			list = append(list, Refusal{append([]any{"storage", "luks", i}, r.Path...), r.Problem})
		}
	}
	return list
}

// Check is the first as one of the engine's errors.
func Check(c types.Config) error {
	for _, r := range Refusals(c) {
		return ignition.At(r, "%s", spec.Path(r.Path))
	}
	return nil
}

// Error is the problem.
func (r Refusal) Error() string { return r.Problem }

func volume(l types.Luks) (list []Refusal) {
	add := func(problem string, path ...any) { list = append(list, Refusal{path, problem}) }
	if util.IsTrue(l.Cex.Enabled) {
		add("crypto cards are of other machines than this engine runs on", "cex")
	}
	if len(l.Clevis.Tang) > 0 {
		add("this engine asks no Tang server: bind the volume to the TPM by tpm2", "clevis", "tang")
	}
	if n := l.Clevis.Threshold; n != nil && *n > 1 {
		add(fmt.Sprintf("%d pins are asked for, and there is tpm2 alone", *n), "clevis", "threshold")
	}
	custom := l.Clevis.Custom
	switch {
	case !util.NotEmpty(custom.Pin):
	case *custom.Pin != "tpm2":
		add("this engine opens volumes by the pin tpm2 only", "clevis", "custom", "pin")
	case custom.Config != nil:
		if clevis.CheckPin(json.RawMessage(*custom.Config)) != nil { // whose words have values
			add("pin tpm2 takes pcr_bank, pcr_ids from 0 to 23, pcr_digest in base64url, and no hash but sha256 and no key but ecc", "clevis", "custom", "config")
		}
	}
	return list
}
