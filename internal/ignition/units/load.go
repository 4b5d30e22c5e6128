package units

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"holdfast/internal/ignition/rooted"
	"holdfast/internal/supervise"
)

// Goal is what a machine starts, or has an alias of.
const Goal = "default.target"

// A Set is the units that a goal pulls in.
type Set struct {
	Units map[string]*Unit
	// Goal is what is started: the default target by its own name.
	Goal     string
	Warnings []Problem
}

// Load reads the units below a root folder that its default target pulls in. It
// refuses them all when one is wrong: the error is an *InvalidError, or one of
// the disk.
func Load(root string, h Host) (*Set, error) {
	dir, err := rooted.Open(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	set, problems, err := LoadTree(Root{dir}, h)
	if err != nil {
		return nil, err
	}
	if err := reject(problems); err != nil {
		return nil, err
	}
	set.Warnings = problems
	return set, nil
}

// A loader finds units and what they pull in.
type loader struct {
	Tree
	host     Host
	set      *Set
	aliases  map[string]string
	wants    map[string][]string // by presets: what each wants
	requires map[string][]string
	problems []Problem
}

// LoadTree is Load for any tree; it tells all problems.
func LoadTree(t Tree, h Host) (*Set, []Problem, error) {
	l := newLoader(t, h)
	if err := l.presets(); err != nil {
		return nil, nil, err
	}
	goal, err := l.pull(Goal)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", Goal, err)
	}
	l.set.Goal = goal
	l.conflicts()
	l.finish()
	return l.set, l.problems, nil
}

func newLoader(t Tree, h Host) *loader {
	return &loader{Tree: t, host: h, set: &Set{Units: map[string]*Unit{}}, aliases: map[string]string{}, wants: map[string][]string{}, requires: map[string][]string{}}
}

// A source is where a unit's file is.
type source struct {
	name   string // without aliases
	file   string
	raw    []byte
	masked bool
}

var errNoUnit = errors.New("there is no such unit")

// find looks for the file of a unit, or of its template.
func (l *loader) find(name string) (source, error) {
	for range 10 {
		s, alias, err := l.lookup(name)
		if err != nil || alias == "" {
			return s, err
		}
		name = alias
	}
	return source{}, fmt.Errorf("unit %s: its aliases have no end", name)
}

// lookup returns the name that a link leads to, if that is another one.
func (l *loader) lookup(name string) (s source, alias string, err error) {
	template, instance := split(name)
	for _, file := range slices.Compact([]string{name, template}) {
		for _, dir := range Dirs {
			at := path.Join(dir, file)
			target, linked := l.Link(at)
			if linked && target == masked {
				return source{name: name, file: at, masked: true}, "", nil
			}
			if linked {
				other := path.Base(target)
				if t, i := split(other); t == other && strings.Contains(t, "@.") && i == "" {
					other = strings.Replace(t, "@.", "@"+instance+".", 1)
				}
				if other != name {
					return source{}, other, nil
				}
			}
			raw, err := l.Read(at)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return s, "", fmt.Errorf("unit %s: %s: %w", name, at, err)
			}
			return source{name, at, raw, len(raw) == 0}, "", nil
		}
	}
	if raw, ok := builtin[name]; ok {
		if to, ok := strings.CutPrefix(raw, "alias "); ok {
			return source{}, to, nil
		}
		return source{name: name, file: "built in", raw: []byte(raw)}, "", nil
	}
	return s, "", errNoUnit
}

// pull loads a unit and what it pulls in, and returns its name without aliases.
func (l *loader) pull(name string) (string, error) {
	name = l.canonical(name)
	if l.set.Units[name] != nil {
		return name, nil
	}
	s, err := l.find(name)
	if err != nil {
		return name, err
	}
	if s.name != name {
		l.aliases[name] = s.name
		return l.pull(s.name)
	}
	if s.masked {
		return name, errMasked
	}
	u, err := l.load(s)
	if err != nil {
		return s.name, err
	}
	l.set.Units[s.name] = u
	return s.name, l.follow(u)
}

var errMasked = errors.New("the unit is masked")

// load reads a unit's file and drop-ins.
func (l *loader) load(s source) (*Unit, error) {
	if err := checkName(s.name); err != nil {
		l.problems = append(l.problems, Problem{Place: Place{File: s.file, Unit: s.name}, Problem: err.Error()})
		return &Unit{Name: s.name}, nil
	}
	list, wrong := read(s.file, s.name, s.raw)
	dropins, err := l.dropins(s.name)
	if err != nil {
		return nil, err
	}
	for _, at := range dropins {
		raw, err := l.Read(at)
		if err != nil {
			return nil, fmt.Errorf("unit %s: %s: %w", s.name, at, err)
		}
		more, bad := read(at, s.name, raw)
		list, wrong = append(list, more...), append(wrong, bad...)
	}
	u, bad := build(s.name, l.host, list)
	l.problems = append(append(l.problems, wrong...), bad...)
	return u, nil
}

// dropins are the files NAME.d/*.conf, also of the template, of the name cut at
// each dash, and of the kind.
func (l *loader) dropins(name string) ([]string, error) {
	kind, template := kindOf(name), name
	names := []string{name}
	if t, instance := split(name); instance != "" {
		template, names = t, append(names, t)
	}
	stem := strings.TrimSuffix(template, kind)
	for i := len(stem) - 2; i > 0; i-- {
		if stem[i] == '-' {
			names = append(names, stem[:i+1]+kind)
		}
	}
	names = append(names, kind[1:])
	var dirs []string
	for _, n := range names {
		for _, dir := range Dirs {
			dirs = append(dirs, path.Join(dir, n+".d"))
		}
	}
	return merge(l, dirs, ".conf")
}

// follow pulls in what a unit names, what folders of links add to it, and what
// presets do.
func (l *loader) follow(u *Unit) error {
	for _, kind := range []struct {
		suffix   string
		enabled  map[string][]string
		list     *[]string
		required bool
	}{{".wants", l.wants, &u.Service.Wants, false}, {".requires", l.requires, &u.Service.Requires, true}} {
		linked, err := l.linked(u.Name, kind.suffix)
		if err != nil {
			return err
		}
		for _, name := range append(linked, kind.enabled[u.Name]...) {
			*kind.list = append(*kind.list, name)
			at := Place{File: "a link in " + u.Name + kind.suffix, Unit: u.Name}
			u.pulls = append(u.pulls, pull{name, kind.required, at})
		}
	}
	if u.Timer != nil {
		u.pulls = append(u.pulls, pull{u.Timer.Unit, true, Place{Unit: u.Name, Section: "Timer", Directive: "Unit"}})
	}
	for _, name := range slices.Concat(u.Service.Requires, u.Service.BindsTo) {
		if !slices.ContainsFunc(u.pulls, func(p pull) bool { return p.name == name }) {
			u.pulls = append(u.pulls, pull{name, true, Place{Unit: u.Name}})
		}
	}
	for _, p := range u.pulls {
		if err := l.pulled(p); err != nil {
			return err
		}
	}
	return nil
}

// pulled loads what is named; what is missing is a problem, or a warning where
// it is only wanted.
func (l *loader) pulled(p pull) error {
	err := checkName(p.name)
	if err == nil {
		_, err = l.pull(p.name)
		if err != nil && !errors.Is(err, errNoUnit) && !errors.Is(err, errMasked) {
			return err
		}
	}
	if err == nil || errors.Is(err, errMasked) && !p.required {
		return nil
	}
	text := err.Error()
	if errors.Is(err, errNoUnit) || errors.Is(err, errMasked) {
		text = fmt.Sprintf("%.60s: %s", p.name, text)
	}
	l.problems = append(l.problems, Problem{p.at, text, !p.required})
	return nil
}

// linked are the names of the links in a unit's folder.
func (l *loader) linked(name, suffix string) ([]string, error) {
	var found []string
	all := []string{name}
	for alias, to := range l.aliases {
		if to == name {
			all = append(all, alias)
		}
	}
	for _, n := range all {
		for _, dir := range Dirs {
			names, err := l.List(path.Join(dir, n+suffix))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			found = append(found, names...)
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// conflicts are between units that the goal pulls in, or what starts when they
// do or fail.
func (l *loader) conflicts() {
	for _, name := range slices.Sorted(maps.Keys(l.set.Units)) {
		for _, c := range l.set.Units[name].conflicts {
			if other := l.canonical(c.name); other != name && l.set.Units[other] != nil {
				l.problems = append(l.problems, Problem{c.at, fmt.Sprintf("%.60q is started too, and services do not stop one another", c.name), false})
			}
		}
	}
}

// finish gives every dependency its name without aliases, and orders targets
// behind what they pull in.
func (l *loader) finish() {
	for _, u := range l.set.Units {
		s := &u.Service
		for _, list := range []*[]string{&s.After, &s.Before, &s.Requires, &s.BindsTo, &s.Wants, &s.PartOf, &s.OnFailure, &s.Requisite, &s.ReloadFrom} {
			l.rename(list)
		}
		if u.Timer != nil {
			u.Timer.Unit = l.canonical(u.Timer.Unit)
		}
	}
	for _, u := range l.set.Units {
		l.orderTarget(u)
	}
	if err := supervise.FindCycle(l.order()); err != nil {
		var cycle *supervise.CycleError
		name := Goal
		if errors.As(err, &cycle) {
			name = cycle.Names[0]
		}
		l.problems = append(l.problems, Problem{Place: Place{File: "units", Unit: name}, Problem: err.Error()})
	}
}

// orderTarget: a target comes behind what it pulls in, unless either has no
// dependencies by default or that comes behind the target (systemd.target(5)).
func (l *loader) orderTarget(u *Unit) {
	s := &u.Service
	if kindOf(u.Name) != ".target" || u.bare {
		return
	}
	for _, name := range slices.Concat(s.Requires, s.Wants) {
		other := l.set.Units[name]
		if other != nil && !other.bare && !slices.Contains(s.Before, name) && !slices.Contains(other.Service.After, u.Name) {
			s.After = append(s.After, name)
		}
	}
}

func (l *loader) order() (names []string, behind map[string][]string) {
	behind = map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(l.set.Units)) {
		names = append(names, name)
		s := l.set.Units[name].Service
		behind[name] = append(behind[name], s.After...)
		for _, later := range s.Before {
			if l.set.Units[later] != nil {
				behind[later] = append(behind[later], name)
			}
		}
	}
	return names, behind
}

func (l *loader) canonical(name string) string {
	if known, ok := l.aliases[name]; ok {
		return known
	}
	return name
}

// rename also drops names that are there twice.
func (l *loader) rename(list *[]string) {
	var renamed []string
	for _, name := range *list {
		if name = l.canonical(name); !slices.Contains(renamed, name) {
			renamed = append(renamed, name)
		}
	}
	*list = renamed
}

// Services are the units for a supervisor.
func (s *Set) Services() []supervise.Service {
	var list []supervise.Service
	for _, name := range slices.Sorted(maps.Keys(s.Units)) {
		list = append(list, s.Units[name].Service)
	}
	return list
}
