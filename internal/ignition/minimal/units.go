package minimal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/coreos/ignition/v2/config/util"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition/fetch"
	"holdfast/internal/ignition/tmpfiles"
	"holdfast/internal/ignition/units"
)

const (
	unitDir = "/etc/systemd/system"
	// presetFile is where the files stage writes what is enabled.
	presetFile = "/etc/systemd/system-preset/20-ignition.preset"
)

// A layout is what a config lays over the image, as far as units are concerned,
// and where in the config each file comes from.
type layout struct {
	units.Files
	image  units.Tree
	places map[string][]any
}

func (l *layout) put(file string, contents []byte, at []any) {
	l.Contents[file], l.places[file] = contents, at
}

// Read prefers the config's files.
func (l *layout) Read(p string) ([]byte, error) {
	raw, err := l.Files.Read(p)
	if errors.Is(err, fs.ErrNotExist) && l.image != nil {
		return l.image.Read(p)
	}
	return raw, err
}

// Link prefers the config's links and files.
func (l *layout) Link(p string) (string, bool) {
	target, ok := l.Files.Link(p)
	if _, file := l.Contents[p]; ok || file || l.image == nil {
		return target, ok
	}
	return l.image.Link(p)
}

// List lists both.
func (l *layout) List(dir string) ([]string, error) {
	names, err := l.Files.List(dir)
	if err != nil || l.image == nil {
		return names, err
	}
	more, err := l.image.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	names = append(names, more...)
	slices.Sort(names)
	return slices.Compact(names), err
}

// units judges the units that the image would run with the config.
func (c Check) units(config types.Config) ([]Issue, error) {
	l := &layout{units.Files{Contents: map[string][]byte{}, Links: map[string]string{}}, c.Image, map[string][]any{}}
	l.storage(config)
	presets := ""
	for i, u := range config.Systemd.Units {
		presets += l.unit(u, i)
	}
	if presets != "" {
		l.put(presetFile, []byte(presets), at("systemd", "units"))
	}
	problems, err := units.Check(l, c.Host)
	if err != nil {
		return nil, err
	}
	list := append(l.absent(config), l.tmpfiles()...)
	for _, p := range problems {
		list = append(list, l.issue(p, config))
	}
	return list, nil
}

// unit lays one out and returns its line of the presets.
func (l *layout) unit(u types.Unit, i int) (preset string) {
	file := path.Join(unitDir, u.Name)
	if u.Contents != nil && *u.Contents != "" {
		l.put(file, []byte(*u.Contents), at("systemd", "units", i, "contents"))
	}
	for j, d := range u.Dropins {
		if d.Contents != nil {
			l.put(path.Join(file+".d", d.Name), []byte(*d.Contents), at("systemd", "units", i, "dropins", j, "contents"))
		}
	}
	if util.IsTrue(u.Mask) {
		l.Links[file] = "/dev/null"
		delete(l.Contents, file)
	}
	if !util.IsTrue(u.Enabled) {
		return ""
	}
	template, instance, dot := u.Name, "", strings.LastIndexByte(u.Name, '.')
	if a := strings.IndexByte(u.Name, '@'); a >= 0 && a < dot {
		template, instance = u.Name[:a+1]+u.Name[dot:], u.Name[a+1:dot]
	}
	return "enable " + template + " " + instance + "\n"
}

// storage lays out files and links that the config puts where units are, as far
// as it has their contents.
func (l *layout) storage(c types.Config) {
	for i, f := range c.Storage.Files {
		if !strings.HasPrefix(f.Path, "/etc/systemd/") && path.Dir(f.Path) != tmpfiles.Dirs[0] {
			continue
		}
		var b bytes.Buffer
		source := f.Contents.Source
		if source == nil || !strings.HasPrefix(*source, "data:") {
			continue // the machine judges it before it runs any unit
		}
		if fetch.New(fetch.Config{Limit: 16 << 20}).Fetch(context.Background(), types.Ignition{}, f.Contents, &b) == nil {
			l.put(f.Path, b.Bytes(), at("storage", "files", i, "contents"))
		}
	}
	for i, n := range c.Storage.Links {
		if strings.HasPrefix(n.Path, "/etc/systemd/") && n.Target != nil {
			l.Links[n.Path], l.places[n.Path] = *n.Target, at("storage", "links", i)
		}
	}
}

// tmpfiles judges the config's files of tmpfiles.d.
func (l *layout) tmpfiles() (list []Issue) {
	for _, file := range slices.Sorted(maps.Keys(l.Contents)) {
		if path.Dir(file) != tmpfiles.Dirs[0] || path.Ext(file) != ".conf" {
			continue
		}
		_, wrong := tmpfiles.Parse(file, l.Contents[file], tmpfiles.Host{})
		for _, p := range wrong {
			list = append(list, Issue{Path: l.places[file], Line: p.Line, Problem: path.Base(file) + ": " + p.Problem})
		}
	}
	return list
}

// absent are units that are enabled and of which nobody has the text.
func (l *layout) absent(c types.Config) (list []Issue) {
	for i, u := range c.Systemd.Units {
		if !util.IsTrue(u.Enabled) || units.Exists(l, u.Name) {
			continue
		}
		list = append(list, Issue{Path: at("systemd", "units", i, "enabled"), Problem: fmt.Sprintf("unit %s is enabled, but neither the config nor the machine image has its text", u.Name)})
	}
	return list
}

// issue finds where in the config a problem stands.
func (l *layout) issue(p units.Problem, c types.Config) Issue {
	i := Issue{Path: at("systemd", "units"), Line: p.Line, Problem: p.Words(), Warning: p.Warning}
	if place, ok := l.places[p.File]; ok {
		i.Path = place
		return i
	}
	i.Line = 0
	n := slices.IndexFunc(c.Systemd.Units, func(u types.Unit) bool { return u.Name == p.Unit })
	if n >= 0 {
		i.Path = at("systemd", "units", n)
	}
	return i
}
