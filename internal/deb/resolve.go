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
		if err := r.close(p); err != nil {
			return nil, err
		}
	}
	for len(r.choices) > 0 {
		next := r.choices[0]
		r.choices = r.choices[1:]
		if err := r.settle(next, true); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(r.trail, func(a, b *Package) int { return strings.Compare(a.Name, b.Name) })
	return r.trail, nil
}

// A resolver takes first what is certain, then makes the choices that are
// left in the order in which they came up. A choice that leads to a conflict
// is taken back for the next alternative.
type resolver struct {
	*Universe
	chosen   map[string]*Package
	trail    []*Package // the chosen, in the order of choice
	excluded map[string]bool
	choices  []choice   // put off
	absent   []*Package // what the excluded packages would provide
	budget   int        // choices left: a bound on taking back
}

// A choice is a group of alternatives that a package needs one of.
type choice struct {
	by    *Package
	group []Relation
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
	if other := r.chosen[p.Name]; other != nil {
		return fmt.Errorf("both %s and %s are needed", other, p)
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

// close takes what p needs without a choice, and all that follows from it. Real
// choices wait until everything that is certain is known.
func (r *resolver) close(p *Package) error {
	rel, err := p.parsed(r.arch)
	if err != nil {
		return err
	}
	for _, group := range rel.depends {
		if err := r.settle(choice{p, group}, false); err != nil {
			return err
		}
	}
	return nil
}

// settle makes sure that one alternative is chosen. A real choice is put off
// unless it is time to choose.
func (r *resolver) settle(c choice, choose bool) error {
	if slices.ContainsFunc(c.group, r.held) {
		return nil
	}
	list := r.alternatives(c)
	if len(list) == 0 {
		return r.missing(c.group[0], c.by, c.group[1:]...)
	}
	if len(list) > 1 && !choose {
		r.choices = append(r.choices, c)
		return nil
	}
	var problem error
	for _, p := range list {
		trail, choices := len(r.trail), len(r.choices)
		err := r.take(p)
		if err == nil || errors.Is(err, errBudget) {
			return err
		}
		problem = firstError(problem, err)
		r.takeBack(trail, choices)
	}
	return problem
}

// alternatives gives the packages that could settle c, each in the best
// version only, the preferred first.
func (r *resolver) alternatives(c choice) []*Package {
	var list []*Package
	for _, want := range c.group {
		for _, p := range r.candidates(want) {
			named := func(q *Package) bool { return q.Name == p.Name }
			if !r.excluded[p.Name] && !slices.ContainsFunc(list, named) {
				list = append(list, p)
			}
		}
	}
	return list
}

// take chooses p with all that certainly follows.
func (r *resolver) take(p *Package) error {
	if err := r.choose(p); err != nil {
		return err
	}
	return r.close(p)
}

func (r *resolver) takeBack(trail, choices int) {
	for _, p := range r.trail[trail:] {
		delete(r.chosen, p.Name)
	}
	r.trail, r.choices = r.trail[:trail], r.choices[:choices]
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
