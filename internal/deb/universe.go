package deb

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast/internal/nearest"
)

// A Universe is every package of an architecture that some indexes know.
type Universe struct {
	Indexes []*Index

	suite, arch string
	byName      map[string][]*Package // newest first
	providers   map[string][]*Package // by a provided name
}

func newUniverse(suite, arch string) *Universe {
	return &Universe{suite: suite, arch: arch, byName: map[string][]*Package{}, providers: map[string][]*Package{}}
}

func (u *Universe) add(x *Index) {
	u.Indexes = append(u.Indexes, x)
	for _, p := range x.packages {
		u.insert(p)
		// Names alone are read here: of 64000 packages few matter.
		for name := range strings.SplitSeq(p.Control.Get("Provides"), ",") {
			name, _, _ = strings.Cut(strings.TrimSpace(name), " ")
			if name, _, _ = strings.Cut(name, "("); name != "" {
				u.providers[name] = append(u.providers[name], p)
			}
		}
	}
}

// insert keeps versions in order; of equal ones the suite that came first wins.
func (u *Universe) insert(p *Package) {
	list := u.byName[p.Name]
	at := 0
	for at < len(list) && compareVersions(list[at].Version, p.Version) >= 0 {
		at++
	}
	u.byName[p.Name] = slices.Insert(list, at, p)
}

// Newest gives the newest version of a package. One that is not there is a
// *MissingError.
func (u *Universe) Newest(name string) (*Package, error) {
	if list := u.byName[name]; len(list) > 0 {
		return list[0], nil
	}
	return nil, u.missing(Relation{Name: name}, nil)
}

// Best gives the package that r names or that provides it, in the newest
// version it admits; none is a *MissingError.
func (u *Universe) Best(r Relation) (*Package, error) {
	if list := u.candidates(r); len(list) > 0 {
		return list[0], nil
	}
	return nil, u.missing(r, nil)
}

// Depends gives what p needs (Pre-Depends and Depends): of each group, one.
func (u *Universe) Depends(p *Package) ([][]Relation, error) {
	rel, err := p.parsed(u.arch)
	if err != nil {
		return nil, err
	}
	return rel.depends, nil
}

// candidates gives the packages that satisfy r, the preferred first: the newest
// version of the package itself, older ones, then those that provide it.
func (u *Universe) candidates(r Relation) []*Package {
	var own, others []*Package
	for _, p := range u.byName[r.Name] {
		if r.admits(p.Version) && p.hasArch(r.Arch) {
			own = append(own, p)
		}
	}
	for _, p := range u.providers[r.Name] {
		if p.Name != r.Name && u.byName[p.Name][0] == p && p.satisfies(r, u.arch) {
			others = append(others, p)
		}
	}
	slices.SortStableFunc(others, func(a, b *Package) int {
		if a.rank() != b.rank() {
			return a.rank() - b.rank()
		}
		return strings.Compare(a.Name, b.Name)
	})
	return append(own, others...)
}

// A MissingError says that no package is what was asked for.
type MissingError struct {
	Wanted       []Relation // the alternatives
	NeededBy     *Package   // nil when the request itself names it
	Suite        string
	Architecture string
	Have         []string // other versions of it
	Near         []string // names that look like it
}

func (e *MissingError) Error() string {
	want := make([]string, len(e.Wanted))
	for i, r := range e.Wanted {
		want[i] = r.String()
	}
	s := fmt.Sprintf("no package %s in %s for %s", strings.Join(want, " | "), e.Suite, e.Architecture)
	if e.NeededBy != nil {
		s += fmt.Sprintf(", which %s needs", e.NeededBy)
	}
	if len(e.Have) > 0 {
		s += "; there is " + strings.Join(e.Have, ", ")
	}
	if len(e.Near) > 0 {
		s += "; did you mean " + strings.Join(e.Near, ", ") + "?"
	}
	return s
}

func (u *Universe) missing(want Relation, by *Package, others ...Relation) error {
	e := &MissingError{Wanted: append([]Relation{want}, others...), NeededBy: by, Suite: u.suite, Architecture: u.arch}
	for _, p := range u.byName[want.Name] {
		e.Have = append(e.Have, p.String())
	}
	if by == nil && len(e.Have) == 0 {
		e.Near = nearest.Names(want.Name, maps.Keys(u.byName))
	}
	return e
}
