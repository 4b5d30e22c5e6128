package deb

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/oci"
)

// A Package is one version of a binary package in an index.
type Package struct {
	Name    string
	Version string
	Suite   string
	Control Paragraph

	relations *relations // parsed when first needed
}

type relations struct {
	depends   [][]Relation // Pre-Depends too
	provides  []Relation   // versioned by "=" or not
	conflicts []Relation   // Breaks too
}

func (p *Package) String() string { return p.Name + " " + p.Version }

// Pin names the package's file.
func (p *Package) Pin() (Pin, error) {
	size, err := strconv.ParseInt(p.Control.Get("Size"), 10, 64)
	if err != nil || size <= 0 {
		return Pin{}, fmt.Errorf("%s: its index says size %.40q", p, p.Control.Get("Size"))
	}
	pin := Pin{Name: p.Name, Version: p.Version, Architecture: p.Control.Get("Architecture"), Size: size,
		SHA256: p.Control.Get("SHA256"), Path: p.Control.Get("Filename"), Suite: p.Suite}
	return pin, pin.Check()
}

// Check says what is wrong with a pin that came from outside.
func (p Pin) Check() error {
	if _, err := oci.ParseDigest(string(p.Digest())); err != nil {
		return fmt.Errorf("package %s: %w", p.Name, err)
	}
	if err := localPath(p.Path); err != nil {
		return fmt.Errorf("package %s: %w", p.Name, err)
	}
	if p.Name == "" || p.Size <= 0 || p.Suite == "" || strings.ContainsAny(p.Suite, "?#%\\ ") {
		return fmt.Errorf("package %q: name, size or suite is missing", p.Name)
	}
	return nil
}

// parsed reads the package's relations, once.
func (p *Package) parsed(arch string) (*relations, error) {
	if p.relations != nil {
		return p.relations, nil
	}
	var r relations
	var err error
	for _, field := range []string{"Pre-Depends", "Depends"} {
		groups, e := parseRelations(p.Control.Get(field), arch)
		r.depends, err = append(r.depends, groups...), firstError(err, e)
	}
	for _, field := range []string{"Conflicts", "Breaks"} {
		groups, e := parseRelations(p.Control.Get(field), arch)
		r.conflicts, err = append(r.conflicts, slices.Concat(groups...)...), firstError(err, e)
	}
	groups, e := parseRelations(p.Control.Get("Provides"), arch)
	r.provides, err = slices.Concat(groups...), firstError(err, e)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	p.relations = &r
	return p.relations, nil
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// satisfies says whether the package is what r wants, by its own name or by
// what it provides. Only a versioned provision satisfies a versioned wish.
func (p *Package) satisfies(r Relation, arch string) bool {
	if p.Name == r.Name && r.admits(p.Version) && p.hasArch(r.Arch) {
		return true
	}
	rel, err := p.parsed(arch)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(rel.provides, func(v Relation) bool {
		return v.Name == r.Name && (r.Op == "" || v.Op == "=" && r.admits(v.Version))
	})
}

// hasArch judges a qualifier. Of one architecture, "any" is all there is.
func (p *Package) hasArch(qualifier string) bool {
	own := p.Control.Get("Architecture")
	return qualifier == "" || qualifier == "any" || qualifier == "native" || own == "all" || own == qualifier
}

// rank orders providers as apt does: by priority, then by name.
func (p *Package) rank() int {
	order := []string{"required", "important", "standard", "optional"}
	if i := slices.Index(order, p.Control.Get("Priority")); i >= 0 {
		return i
	}
	return len(order)
}
