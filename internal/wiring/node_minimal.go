package wiring

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"holdfast/internal/api"
	"holdfast/internal/ignition/butane"
	"holdfast/internal/ignition/minimal"
	"holdfast/internal/ignition/spec"
	"holdfast/internal/image/recipe"
	"holdfast/internal/oci"
	"holdfast/internal/wiring/provision"
)

// Minimal tells what a machine image without systemd cannot do of a config that
// was read from raw.
func (n NodeConfig) Minimal(name string, raw []byte, d *spec.Document) ([]spec.Finding, error) {
	has, err := n.recipe()
	if err != nil {
		return nil, err
	}
	issues, err := provision.Issues(d.Config, has)
	if err != nil {
		return nil, err
	}
	return placed(name, raw, d, issues), nil
}

// Refused is what this engine does on no machine.
func (n NodeConfig) Refused(name string, raw []byte, d *spec.Document) []spec.Finding {
	return placed(name, raw, d, minimal.Refused(d.Config))
}

// placed says where in the text the issues are.
func placed(name string, raw []byte, d *spec.Document, issues []minimal.Issue) []spec.Finding {
	list := make([]spec.Finding, len(issues))
	for i, issue := range issues {
		if d.Butane {
			list[i], issue.Line = butane.Place(name, raw, issue.Path, issue.Line)
		} else {
			list[i] = spec.Place(name, d.JSON, issue.Path)
		}
		list[i].Problem = issue.Text()
		if issue.Warning {
			list[i].Warn()
		}
	}
	return list
}

// recipe is what the machine image will have, as its recipe and lock name it;
// nil where there is none, or an image that is built.
func (n NodeConfig) recipe() (*minimal.Recipe, error) {
	if n.Image == "" || isBuilt(n.Image) {
		return nil, nil
	}
	r, err := recipe.Load(n.Image)
	if err != nil {
		return nil, fmt.Errorf("the machine image %s, which is to apply it: %w", n.Image, err)
	}
	if r.Machine == nil {
		return nil, fmt.Errorf("%s: makes no machine image: want a recipe with machine", n.Image)
	}
	has := &minimal.Recipe{Packages: slices.Clone(r.Packages), Modules: r.Machine.Modules}
	lock, err := recipe.ReadLock(r.LockPath())
	if errors.Is(err, fs.ErrNotExist) {
		return has, nil
	}
	if err == nil {
		for _, p := range lock.Packages {
			has.Packages = append(has.Packages, p.Name)
		}
	}
	return has, err
}

// IsOurs says whether a text is Butane of the variant that Holdfast machines
// alone understand.
func IsOurs(raw []byte) bool { return butane.Variant(raw) == butane.Holdfast }

// possible is an *spec.InvalidError for a config that no machine image can apply.
func (n NodeConfig) possible(name string, raw []byte, d *spec.Document) error {
	list, err := n.Minimal(name, raw, d)
	if err != nil || !slices.ContainsFunc(list, spec.Finding.IsError) {
		return err
	}
	return &spec.InvalidError{Findings: list}
}

// guest is what a config of our variant says beside Ignition; nothing for others.
func (n NodeConfig) guest(name string, raw []byte) (g api.GuestConfig, err error) {
	if !IsOurs(raw) {
		return g, nil
	}
	said, err := butane.Config{Files: n.Files}.Guest(raw)
	if err != nil {
		return g, fmt.Errorf("%s: %w", name, err)
	}
	if said != nil {
		g = *said
	}
	return g, nil
}

// InitData writes the init-data document of a config of our variant: all that a
// machine measures of it.
func (n NodeConfig) InitData(name string, raw []byte) (document []byte, digest string, err error) {
	d, err := n.Read(name, raw)
	if err != nil {
		return nil, "", err
	}
	g, err := n.guest(name, raw)
	if err != nil {
		return nil, "", err
	}
	if g.Image == "" {
		return nil, "", fmt.Errorf("%s: says of no workload: want the Butane variant %s with workload, registry and attestation", name, butane.Holdfast)
	}
	if err := n.possible(name, raw, d); err != nil {
		return nil, "", err
	}
	document, err = initDataWith(g, d.JSON)
	return document, string(oci.SHA256(document)), err
}
