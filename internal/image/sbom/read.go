package sbom

import (
	"fmt"
	"slices"

	"holdfast/internal/input"
)

// A Listed package is one that a document names: a Debian package, a Go
// program or a Go module.
type Listed struct{ Name, Version, PURL string }

// A Bill is what a document says of an image: its name, and the packages that
// it contains or that what it contains was linked with.
type Bill struct {
	Name     string
	Packages []Listed
}

// Read reads a document. What the packages stand in, image and recipe, is left
// out.
func Read(raw []byte) (*Bill, error) {
	var d document
	if err := input.JSON(raw, &d); err != nil {
		return nil, fmt.Errorf("bill of materials: %w", err)
	}
	if d.Version != "SPDX-2.3" {
		return nil, fmt.Errorf("bill of materials is %.40q: want SPDX-2.3", d.Version)
	}
	b := &Bill{Name: d.Name}
	for _, p := range d.Packages {
		i := slices.IndexFunc(p.References, func(r reference) bool { return r.Type == "purl" })
		if i >= 0 {
			b.Packages = append(b.Packages, Listed{p.Name, p.Version, p.References[i].Locator})
		}
	}
	return b, nil
}
