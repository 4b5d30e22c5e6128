package wiring

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

// notLost refuses to begin with a first master where the folder of masters is
// gone, or is not mounted, and resources rest on one that was in it: what is
// sealed under another would be lost when it comes back.
func (i Installation) notLost(ctx context.Context) error {
	if found, err := filepath.Glob(filepath.Join(i.Masters(), "*.json")); err != nil || len(found) > 0 {
		return err
	}
	if _, err := os.Stat(filepath.Join(i.Broker(), state.File)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	kept, err := state.Open(ctx, state.Config{Dir: i.Broker(), Sealer: state.Keyless{}})
	if err != nil {
		return err
	}
	needs, err := lacking(ctx, kept, state.Keyless{})
	if err = errors.Join(err, kept.Close()); err != nil || len(needs) == 0 {
		return err
	}
	return fmt.Errorf("%s has no master key, and %d resources need master %s: bring it back", i.Masters(), needs[0].Resources, needs[0].ID)
}
