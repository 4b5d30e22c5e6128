package units

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"holdfast/internal/ignition/rooted"
)

// A Tree is where unit files are. Paths are absolute; ErrNotExist is matched
// where there is nothing.
type Tree interface {
	Read(path string) ([]byte, error) // follows links
	Link(path string) (target string, ok bool)
	List(dir string) ([]string, error) // names, sorted
}

// A Root is a Tree below a folder, as the system in it sees it.
type Root struct{ *rooted.Dir }

func (r Root) Read(path string) ([]byte, error) {
	if target, ok := r.Link(path); ok && target == masked {
		return nil, nil // the root need not have that device
	}
	at, err := r.Follow(path)
	if err != nil {
		return nil, err
	}
	info, err := r.Stat(at)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, nil // /dev/null: the unit is masked
	case info.Size() > maxFile:
		return make([]byte, maxFile+1), nil // told as too large
	}
	return r.ReadFile(at)
}

func (r Root) Link(path string) (string, bool) {
	at, err := r.Resolve(path)
	if err != nil {
		return "", false
	}
	target, err := r.Readlink(at)
	return target, err == nil
}

func (r Root) List(dir string) ([]string, error) {
	at, err := r.Follow(dir)
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(r.FS(), at)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

// Files is a Tree of files that are not on a disk: contents by path, and links
// by theirs.
type Files struct {
	Contents map[string][]byte
	Links    map[string]string
}

func (f Files) Read(p string) ([]byte, error) {
	for range 40 {
		target, ok := f.Links[p]
		if !ok {
			break
		}
		if target == masked {
			return nil, nil
		}
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(p), target)
		}
		p = target
	}
	raw, ok := f.Contents[p]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return raw, nil
}

func (f Files) Link(p string) (string, bool) { target, ok := f.Links[p]; return target, ok }

func (f Files) List(dir string) ([]string, error) {
	var names []string
	add := func(p string) {
		if rest, ok := strings.CutPrefix(p, dir+"/"); ok {
			name, _, _ := strings.Cut(rest, "/")
			names = append(names, name)
		}
	}
	for p := range f.Contents {
		add(p)
	}
	for p := range f.Links {
		add(p)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

const masked = "/dev/null"

// Dirs are where units are looked for; what comes first counts
// (systemd.unit(5)).
var Dirs = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// presetDirs are those of presets (systemd.preset(5)).
var presetDirs = []string{"/etc/systemd/system-preset", "/run/systemd/system-preset", "/usr/local/lib/systemd/system-preset", "/usr/lib/systemd/system-preset", "/lib/systemd/system-preset"}

// merge lists the files of folders of one kind by name; of two with one name the
// earlier folder's counts.
func merge(t Tree, dirs []string, suffix string) (paths []string, err error) {
	found := map[string]string{}
	for _, dir := range dirs {
		names, err := t.List(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, name := range names {
			if strings.HasSuffix(name, suffix) && found[name] == "" {
				found[name] = path.Join(dir, name)
			}
		}
	}
	for _, p := range found {
		paths = append(paths, p)
	}
	slices.SortFunc(paths, func(a, b string) int { return strings.Compare(path.Base(a), path.Base(b)) })
	return paths, nil
}
