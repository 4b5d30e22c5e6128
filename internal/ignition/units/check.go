package units

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Check tells all that is wrong with the units of a tree, also with those that
// nothing pulls in, and with drop-ins of units that are not there.
func Check(t Tree, h Host) ([]Problem, error) {
	l := newLoader(t, h)
	if err := l.presets(); err != nil {
		return nil, err
	}
	if _, err := l.pull(Goal); err != nil && !errors.Is(err, errMasked) && !errors.Is(err, errNoUnit) {
		return nil, err
	}
	l.conflicts()
	names, err := l.everything()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if err := l.checkOne(name); err != nil {
			return nil, err
		}
	}
	l.finish()
	return l.problems, nil
}

// everything are the names of all unit files and folders of drop-ins.
func (l *loader) everything() ([]string, error) {
	var names []string
	for _, dir := range Dirs {
		entries, err := l.List(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			name := strings.TrimSuffix(e, ".d")
			if _, kind := elsewhere[kindOf(name)]; kind || slices.Contains(kinds, kindOf(name)) || name != e {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// checkOne reads a unit that nothing has pulled in.
func (l *loader) checkOne(name string) error {
	if l.set.Units[l.canonical(name)] != nil {
		return nil
	}
	_, err := l.pull(name)
	if errors.Is(err, errNoUnit) {
		return l.checkDropIns(name)
	}
	if errors.Is(err, errMasked) {
		return nil
	}
	return err
}

// checkDropIns reads what is added to a unit that is not in the tree, or to all
// whose names begin so: what the unit itself says is not known.
func (l *loader) checkDropIns(name string) error {
	var dirs []string
	for _, dir := range Dirs {
		dirs = append(dirs, path.Join(dir, name+".d"))
	}
	files, err := merge(l, dirs, ".conf")
	if err != nil {
		return err
	}
	if !strings.Contains(name, ".") {
		name = "any." + name // service.d
	}
	for _, at := range files {
		raw, err := l.Read(at)
		if err != nil {
			return err
		}
		list, wrong := read(at, name, raw)
		_, bad := build(name, l.host, list)
		bad = slices.DeleteFunc(bad, func(p Problem) bool { return p.Line == 0 }) // it is not whole
		l.problems = append(append(l.problems, wrong...), bad...)
	}
	return nil
}

// Exists says whether a tree has a unit, or the template that it is made of. One
// that is masked is there.
func Exists(t Tree, name string) bool {
	_, err := newLoader(t, Host{}).find(name)
	return err == nil
}
