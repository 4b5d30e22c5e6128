package wiring

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
)

// keptReports is how many runs are remembered.
const keptReports = 200

func (i Installation) reports() string { return filepath.Join(i.dir, "reports") }

// remember writes down what the run is, for those who ask later. The latest run of
// a name is the one that is remembered.
func (s *session) remember() error {
	dir := s.Installation.reports()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(s.report, "", "  ")
	if err != nil {
		return err
	}
	forgetReports(dir)
	return atomicfile.WriteFile(filepath.Join(dir, s.Name+".json"), append(raw, '\n'), 0o600)
}

// forgetReport forgets the run called name, if it is remembered.
func (i Installation) forgetReport(name string) error {
	err := os.Remove(filepath.Join(i.reports(), name+".json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// forgetReports leaves the latest; what it cannot remove stays for the next run.
func forgetReports(dir string) {
	paths, _ := filepath.Glob(filepath.Join(dir, "*.json"))
	slices.SortFunc(paths, func(a, b string) int { return cmp.Compare(changed(b), changed(a)) })
	for _, path := range paths[min(keptReports, len(paths)):] {
		_ = os.Remove(path)
	}
}

// ErrNoRun says that no run of a name is remembered.
var ErrNoRun = errors.New("no run of this name is remembered here")

// Remembered returns the report of the latest run called name, as far as it has
// come.
func (i Installation) Remembered(name string) (*Report, error) {
	if CheckName(name) != nil {
		return nil, fmt.Errorf("%.80q: %w", name, ErrNoRun)
	}
	raw, err := input.ReadFile(filepath.Join(i.reports(), name+".json"), input.Document)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", name, ErrNoRun)
	}
	if err != nil {
		return nil, err
	}
	r := &Report{}
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("record of run %s: %w", name, err)
	}
	return r, nil
}
