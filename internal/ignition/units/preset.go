package units

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// A preset is one line of a preset file (systemd.preset(5)).
type preset struct {
	enable    bool
	pattern   string
	instances []string
}

// readPresets reads all preset files by name; the first line that matches a unit
// counts.
func (l *loader) readPresets() ([]preset, error) {
	files, err := merge(l, presetDirs, ".preset")
	if err != nil {
		return nil, err
	}
	var list []preset
	for _, at := range files {
		raw, err := l.Read(at)
		if err != nil {
			return nil, err
		}
		for i, text := range strings.Split(string(raw), "\n") {
			words := strings.Fields(text)
			if len(words) == 0 || strings.ContainsAny(words[0][:1], "#;") {
				continue
			}
			if len(words) < 2 || words[0] != "enable" && words[0] != "disable" && words[0] != "ignore" {
				l.problems = append(l.problems, Problem{Place: Place{File: at, Line: i + 1, Unit: "presets"}, Problem: "the line is not enable, disable or ignore with a unit"})
				continue
			}
			if words[0] == "ignore" {
				continue
			}
			list = append(list, preset{words[0] == "enable", words[1], words[2:]})
		}
	}
	return list, nil
}

// presets enables the units that presets name, as systemctl preset-all would by
// links: here by what each target wants, at every boot. What no preset names is
// not enabled.
func (l *loader) presets() error {
	list, err := l.readPresets()
	if err != nil {
		return err
	}
	names, err := l.installable()
	if err != nil {
		return err
	}
	for _, name := range names {
		i := slices.IndexFunc(list, func(p preset) bool { ok, err := path.Match(p.pattern, name); return err == nil && ok })
		if i < 0 || !list[i].enable {
			continue
		}
		if err := l.enable(name, list[i].instances, map[string]bool{}); err != nil {
			return err
		}
	}
	return nil
}

// installable are all unit files, by name.
func (l *loader) installable() ([]string, error) {
	var names []string
	for _, kind := range kinds {
		paths, err := merge(l, Dirs, kind)
		if err != nil {
			return nil, err
		}
		for _, p := range paths {
			names = append(names, path.Base(p))
		}
	}
	return names, nil
}

func (l *loader) enable(name string, instances []string, done map[string]bool) error {
	if done[name] || checkName(name) != nil {
		return nil
	}
	done[name] = true
	s, err := l.find(name)
	if errors.Is(err, errNoUnit) || errors.Is(err, fs.ErrNotExist) || s.masked {
		return nil
	}
	if err != nil {
		return err
	}
	list, _ := read(s.file, name, s.raw) // what is wrong is told when it is loaded
	u, _ := build(name, l.host, slices.DeleteFunc(list, func(a assignment) bool { return a.Section != "Install" }))
	for _, n := range l.instances(name, u.Install, instances) {
		l.install(n, u.Install)
	}
	for _, also := range u.Install.Also {
		if err := l.enable(also, nil, done); err != nil {
			return err
		}
	}
	return nil
}

// instances are the units of a template that are enabled, or the unit itself.
func (l *loader) instances(name string, i Install, named []string) []string {
	template, instance := split(name)
	if !strings.Contains(template, "@.") || instance != "" {
		return []string{name}
	}
	if len(named) == 0 && i.DefaultInstance != "" {
		named = []string{i.DefaultInstance}
	}
	var list []string
	for _, n := range named {
		list = append(list, strings.Replace(template, "@.", "@"+n+".", 1))
	}
	if len(list) == 0 {
		l.problems = append(l.problems, Problem{Place: Place{File: "presets", Unit: name}, Problem: "the template is enabled without an instance", Warning: true})
	}
	return list
}

func (l *loader) install(name string, i Install) {
	for _, by := range i.WantedBy {
		by = l.realName(by)
		l.wants[by] = append(l.wants[by], name)
	}
	for _, by := range i.RequiredBy {
		by = l.realName(by)
		l.requires[by] = append(l.requires[by], name)
	}
	for _, alias := range i.Alias {
		l.aliases[alias] = name
	}
}

// realName follows aliases as far as there are files.
func (l *loader) realName(name string) string {
	if s, err := l.find(name); err == nil {
		return s.name
	}
	return name
}
