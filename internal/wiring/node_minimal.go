package wiring

import (
	"holdfast/internal/ignition/butane"
	"holdfast/internal/ignition/spec"
	"holdfast/internal/wiring/provision"
)

// Minimal tells what a machine image without systemd cannot do of a config that
// was read from raw.
func (n NodeConfig) Minimal(name string, raw []byte, d *spec.Document) ([]spec.Finding, error) {
	issues, err := provision.Issues(d.Config)
	if err != nil {
		return nil, err
	}
	list := make([]spec.Finding, len(issues))
	for i, issue := range issues {
		if d.Butane {
			list[i], issue.Line = butane.Place(name, raw, issue.Path, issue.Line)
		} else {
			list[i] = spec.Place(name, raw, issue.Path)
		}
		list[i].Problem = issue.Text()
		if issue.Warning {
			list[i].Warn()
		}
	}
	return list, nil
}

// IsOurs says whether a text is Butane of the variant that Holdfast machines
// alone understand.
func IsOurs(raw []byte) bool { return butane.Variant(raw) == butane.Holdfast }
