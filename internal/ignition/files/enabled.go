package files

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
)

// unitDirs is where systemd looks for units, what comes first wins
// (systemd.unit(5)).
var unitDirs = []string{unitDir, "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// enabled is what systemctl is-enabled says by its exit code: of units that are
// linked in, and of those that nothing could link.
func (s *stage) enabled(unit string) (bool, error) {
	raw, err := s.unitFile(unit)
	if err != nil || raw == nil {
		return false, err
	}
	links, err := s.enabling(unit)
	if err != nil || len(links) > 0 {
		return len(links) > 0, err
	}
	install := installSection(raw)
	for _, key := range []string{"WantedBy", "RequiredBy", "UpheldBy", "Alias", "DefaultInstance"} {
		if len(install[key]) > 0 {
			return false, nil
		}
	}
	return true, nil // static or indirect
}

// unitFile is nil for a unit that is masked or not there.
func (s *stage) unitFile(unit string) ([]byte, error) {
	for _, dir := range unitDirs {
		at, err := s.dir.Resolve(filepath.Join(dir, unit))
		if err != nil {
			return nil, err
		}
		if target, err := s.dir.Readlink(at); err == nil {
			if target == masked {
				return nil, nil
			}
			if at, err = s.dir.Follow(filepath.Join(dir, unit)); err != nil {
				return nil, err
			}
		}
		raw, err := s.dir.ReadFile(at)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return raw, err
	}
	return nil, nil
}

// enabling are the links of /etc that enable a unit: in the folder of a unit
// that wants it, or under another name.
func (s *stage) enabling(unit string) ([]string, error) {
	base, err := s.dir.Follow(unitDir)
	if err != nil {
		return nil, err
	}
	var links []string
	err = fs.WalkDir(s.dir.FS(), base, func(at string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink == 0 {
			return ignoreMissing(err)
		}
		target, err := s.dir.Readlink(at)
		if err != nil {
			return err
		}
		dir, name := path.Split(at)
		wanted := path.Clean(dir) != base && name == unit
		alias := path.Clean(dir) == base && name != unit && path.Base(target) == unit
		if wanted || alias {
			links = append(links, at)
		}
		return nil
	})
	return links, err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// disable removes the links of a unit, and of those that go with it.
func (s *stage) disable(unit string, done map[string]bool) error {
	if done[unit] {
		return nil
	}
	done[unit] = true
	links, err := s.enabling(unit)
	if err != nil {
		return err
	}
	for _, at := range links {
		if err := s.dir.Remove(at); err != nil {
			return err
		}
		_ = s.dir.Remove(path.Dir(at)) // the folder of links, when it is empty now
	}
	raw, err := s.unitFile(unit)
	if err != nil {
		return err
	}
	for _, also := range installSection(raw)["Also"] {
		if err := s.disable(also, done); err != nil {
			return err
		}
	}
	return nil
}

// installSection is a unit's [Install], words by key.
func installSection(raw []byte) map[string][]string {
	found, in := map[string][]string{}, false
	for scan := bufio.NewScanner(bytes.NewReader(raw)); scan.Scan(); {
		line := strings.TrimSpace(scan.Text())
		if strings.HasPrefix(line, "[") {
			in = line == "[Install]"
			continue
		}
		if key, value, ok := strings.Cut(line, "="); ok && in && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ";") {
			key = strings.TrimSpace(key)
			found[key] = append(found[key], strings.Fields(value)...)
		}
	}
	return found
}
