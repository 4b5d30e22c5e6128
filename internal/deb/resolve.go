package deb

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Request says which packages are wanted, and which never, though needed.
type Request struct {
	Packages []string
	Exclude  []string
}

// A ConflictError says that two packages that are both needed exclude each other.
type ConflictError struct {
	Package, With *Package
	Relation      Relation // as Package states it
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s conflicts with %s (%s), and both are needed", e.Package, e.With, e.Relation)
}

// Resolve gives the packages of req and all that they need (Depends and
// Pre-Depends; Essential ones are not added by themselves), sorted by name.
//
// Of alternatives, one that is chosen already wins, then the first that can be
// satisfied. Of versions, the newest that is admitted. An excluded package
// counts as being there, in whatever version.
func (u *Universe) Resolve(req Request) ([]*Package, error) {
	r := &resolver{Universe: u, chosen: map[string]*Package{}, excluded: map[string]bool{}, budget: 200_000}
	for _, name := range req.Exclude {
		r.exclude(name)
	}
	for _, name := range req.Packages {
		if err := r.request(name); err != nil {
			return nil, err
		}
	}
	for _, p := range slices.Clone(r.trail) {
		if err := r.satisfyAll(p); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(r.trail, func(a, b *Package) int { return strings.Compare(a.Name, b.Name) })
	return r.trail, nil
}

// A resolver chooses packages depth first, and takes a choice back when what
// it needs cannot be had.
type resolver struct {
	*Universe
	chosen   map[string]*Package
	trail    []*Package // the chosen, in the order of choice
	excluded map[string]bool
	absent   []*Package // what the excluded packages would provide
	budget   int        // choices left: a bound on taking back
}

var errBudget = errors.New("the dependencies are too tangled: too many choices were tried")

func (r *resolver) exclude(name string) {
	r.excluded[name] = true
	if p, err := r.Newest(name); err == nil {
		r.absent = append(r.absent, p)
	}
}

// request chooses a package that the user named, which must not be virtual:
// which of its providers to take is the user's to say.
func (r *resolver) request(name string) error {
	if r.excluded[name] {
		return fmt.Errorf("package %s is both wanted and excluded", name)
	}
	p, err := r.Newest(name)
	if err == nil && r.chosen[name] == nil {
		err = r.choose(p)
	}
	if err == nil || len(r.byName[name]) > 0 || len(r.providers[name]) == 0 {
		return err
	}
	var names []string
	for _, p := range r.candidates(Relation{Name: name}) {
		names = append(names, p.Name)
	}
	return fmt.Errorf("package %s is virtual: name one of %s", name, strings.Join(names, ", "))
}

func (r *resolver) choose(p *Package) error {
	if r.budget--; r.budget < 0 {
		return errBudget
	}
	for _, other := range r.trail {
		if err := r.conflict(p, other); err != nil {
			return err
		}
	}
	r.chosen[p.Name] = p
	r.trail = append(r.trail, p)
	return nil
}

func (r *resolver) conflict(a, b *Package) error {
	for _, pair := range [][2]*Package{{a, b}, {b, a}} {
		rel, err := pair[0].parsed(r.arch)
		if err != nil {
			return err
		}
		for _, c := range rel.conflicts {
			if pair[1].satisfies(c, r.arch) {
				return &ConflictError{pair[0], pair[1], c}
			}
		}
	}
	return nil
}

func (r *resolver) satisfyAll(p *Package) error {
	rel, err := p.parsed(r.arch)
	if err != nil {
		return err
	}
	for _, group := range rel.depends {
		if err := r.satisfy(p, group); err != nil {
			return err
		}
	}
	return nil
}

// satisfy makes sure that one alternative of group is chosen.
func (r *resolver) satisfy(by *Package, group []Relation) error {
	if slices.ContainsFunc(group, r.held) {
		return nil
	}
	var problem error
	for _, want := range group {
		for _, p := range r.candidates(want) {
			mark := len(r.trail)
			err := r.take(p, by, want)
			if err == nil || errors.Is(err, errBudget) {
				return err
			}
			problem = firstError(problem, err)
			r.takeBack(mark)
		}
	}
	if problem != nil {
		return problem
	}
	return r.missing(group[0], by, group[1:]...)
}

// take chooses p, which by wants, with all that it needs.
func (r *resolver) take(p, by *Package, want Relation) error {
	if r.excluded[p.Name] {
		return r.missing(want, by)
	}
	if other := r.chosen[p.Name]; other != nil {
		return fmt.Errorf("%s needs %s, but %s is needed too", by, want, other)
	}
	if err := r.choose(p); err != nil {
		return err
	}
	return r.satisfyAll(p)
}

func (r *resolver) takeBack(mark int) {
	for _, p := range r.trail[mark:] {
		delete(r.chosen, p.Name)
	}
	r.trail = r.trail[:mark]
}

// held says whether what was chosen, or excluded, satisfies want.
func (r *resolver) held(want Relation) bool {
	if r.excluded[want.Name] {
		return true
	}
	is := func(p *Package) bool { return p.satisfies(want, r.arch) }
	if p := r.chosen[want.Name]; p != nil && is(p) {
		return true
	}
	return len(r.providers[want.Name]) > 0 && (slices.ContainsFunc(r.trail, is) || slices.ContainsFunc(r.absent, is))
}
