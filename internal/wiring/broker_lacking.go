package wiring

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"holdfast/internal/broker/state"
	"holdfast/internal/seal"
)

// A MasterNeed is a master key that resources rest on and that is not at hand,
// or is another key.
type MasterNeed struct {
	ID        seal.ID `json:"id"`
	Resources int     `json:"resources"`
	Why       string  `json:"why"`
	HSM       bool    `json:"hsm,omitempty"` // it is in one, and the installation names none
}

// ErrOtherMaster is matched when a backup's resources would not open where it is
// to be restored.
var ErrOtherMaster = errors.New("nothing was restored")

// lacking names the masters that resources need and sealer does not have. A
// resource that was altered needs none.
func lacking(ctx context.Context, kept *state.Store, sealer state.Sealer) (needs []MasterNeed, err error) {
	err = kept.EachSealed(ctx, func(name string, sealed []byte) error {
		plain, err := sealer.Open(ctx, name, sealed)
		clear(plain)
		if err == nil || errors.Is(err, seal.ErrAltered) || errors.Is(err, seal.ErrFormat) {
			return nil
		}
		id, err2 := seal.MasterOf(sealed)
		if err2 != nil {
			return nil // it opens by no master
		}
		n := slices.IndexFunc(needs, func(m MasterNeed) bool { return m.ID == id })
		if n < 0 {
			n, needs = len(needs), append(needs, MasterNeed{ID: id, Why: err.Error()})
		}
		needs[n].Resources++
		return nil
	})
	return needs, err
}

// mustOpen refuses what would not open in the installation. Whoever only checks
// where no keys are does not have to bring any.
func (i Installation) mustOpen(r BrokerReport, checkOnly bool) error {
	if len(r.Needs) == 0 {
		return nil
	}
	if _, err := os.Stat(i.Masters()); checkOnly && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	n := r.Needs[0]
	return fmt.Errorf("%w: master %s is needed for %d resources: %s", ErrOtherMaster, n.ID, n.Resources, n.Why)
}
