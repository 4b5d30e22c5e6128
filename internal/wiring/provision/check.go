package provision

import (
	"errors"
	"fmt"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/minimal"
)

// StateLabel is the label of the file system that keeps what a machine writes
// to /etc and /var.
const StateLabel = "state"

// Check refuses, before anything boots, what a machine image cannot be made to
// do. An error names the field.
func Check(name string, c types.Config) error {
	err := minimal.Check{}.Refuse(c)
	if err == nil {
		err = checkState(c)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Issues are all that Check refuses, and what it warns of; the recipe of the
// image is nil where it is not known.
func Issues(c types.Config, recipe *minimal.Recipe) ([]minimal.Issue, error) {
	list, err := minimal.Check{Recipe: recipe}.Issues(c)
	var wrong *ignition.Error
	if errors.As(checkState(c), &wrong) {
		at := []any{"storage"}
		if i := stateIndex(c); i >= 0 {
			at = append(at, "filesystems", i)
		}
		list = append(list, minimal.Issue{Path: at, Problem: wrong.Err.Error()})
	}
	return list, err
}
