package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/coreos/ignition/v2/config/util"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
)

const (
	unitDir = "/etc/systemd/system"
	// presetFile is upstream's: systemd applies it on the first boot.
	presetFile = "/etc/systemd/system-preset/20-ignition.preset"
	masked     = "/dev/null"
)

// units writes units and drop-ins, masks, and the presets that enable and
// disable.
func (s *stage) units(_ context.Context, c types.Config) error {
	for i, u := range c.Systemd.Units {
		if err := s.unit(u); err != nil {
			return ignition.At(fmt.Errorf("unit %s: %w", u.Name, err), "$.systemd.units[%d]", i)
		}
	}
	return s.presets(c.Systemd.Units)
}

func (s *stage) unit(u types.Unit) error {
	for _, d := range u.Dropins {
		if d.Contents == nil {
			continue
		}
		if err := s.text(filepath.Join(unitDir, u.Name+".d", d.Name), *d.Contents); err != nil {
			return fmt.Errorf("drop-in %s: %w", d.Name, err)
		}
	}
	if util.NotEmpty(u.Contents) {
		if err := s.text(filepath.Join(unitDir, u.Name), *u.Contents); err != nil {
			return err
		}
	}
	s.Log.Info("wrote", "unit", u.Name)
	if u.Mask == nil {
		return nil
	}
	return s.mask(filepath.Join(unitDir, u.Name), *u.Mask)
}

// text replaces a file, also a link, by these bytes.
func (s *stage) text(path, contents string) error {
	at, err := s.dir.Resolve(path)
	if err != nil {
		return err
	}
	if err := s.dir.Parents(at); err != nil {
		return err
	}
	f, err := s.scratch(filepath.Dir(at))
	if err != nil {
		return err
	}
	_, err = f.WriteString(contents)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = s.dir.Rename(f.name, at)
	}
	if err != nil {
		return errors.Join(err, s.dir.Remove(f.name))
	}
	return nil
}

func (s *stage) mask(path string, on bool) error {
	at, err := s.dir.Resolve(path)
	if err != nil {
		return err
	}
	if !on {
		if target, err := s.dir.Readlink(at); err != nil || target != masked {
			return nil // it is not masked
		}
		return s.dir.Remove(at)
	}
	if err := s.dir.Parents(at); err != nil {
		return err
	}
	if err := s.dir.RemoveAll(at); err != nil {
		return err
	}
	return s.dir.Symlink(masked, at)
}

// A preset is one line of the file.
type preset struct {
	unit      string
	enable    bool
	instances []string
}

func (p preset) operand() string {
	if strings.Contains(p.unit, "@") {
		return p.unit + " " + strings.Join(p.instances, " ")
	}
	return p.unit
}

// presets are sorted as upstream sorts them: by unit, those that disable first.
func (s *stage) presets(units []types.Unit) error {
	lines := map[string]*preset{}
	for _, u := range units {
		if u.Enabled == nil {
			continue
		}
		name, instance := split(u.Name)
		key := name + map[bool]string{true: "-enabled", false: "-disabled"}[*u.Enabled]
		if lines[key] == nil {
			lines[key] = &preset{unit: name, enable: *u.Enabled}
		}
		lines[key].instances = append(lines[key].instances, instance)
	}
	keys := make([]string, 0, len(lines))
	for key := range lines {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if err := s.preset(*lines[key]); err != nil {
			return fmt.Errorf("preset of %s: %w", lines[key].unit, err)
		}
	}
	return nil
}

// split tells a template from its instance; the validated name has a suffix.
func split(name string) (template, instance string) {
	at, dot := strings.IndexByte(name, '@'), strings.LastIndexByte(name, '.')
	if at < 0 || dot < at {
		return name, ""
	}
	return name[:at+1] + name[dot:], name[at+1 : dot]
}

// preset writes a line. One that disables is written only for what is enabled
// now, and takes the links that enable it: a preset does not.
func (s *stage) preset(p preset) error {
	if p.enable {
		return s.presetLine("enable " + p.operand())
	}
	if p.instances[0] != "" || strings.Contains(p.unit, "@") {
		return nil // upstream asks systemctl for the whole line, which no unit is called
	}
	on, err := s.enabled(p.unit)
	if err != nil || !on {
		return err
	}
	if err := s.disable(p.unit, map[string]bool{}); err != nil {
		return err
	}
	return s.presetLine("disable " + p.unit)
}

func (s *stage) presetLine(line string) error {
	at, err := s.dir.Resolve(presetFile)
	if err != nil {
		return err
	}
	if s.hasLine(at, line) {
		return nil
	}
	if err := s.dir.Parents(at); err != nil {
		return err
	}
	_, err = s.dir.Lstat(at)
	f, openErr := s.dir.OpenFile(at, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if openErr != nil {
		return openErr
	}
	if errors.Is(err, fs.ErrNotExist) {
		if err := f.Chmod(0o644); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	_, err = f.WriteString(line + "\n")
	return errors.Join(err, f.Close())
}

// hasLine says whether an earlier run wrote a line.
func (s *stage) hasLine(at, line string) bool {
	raw, _ := s.dir.ReadFile(at) // one that cannot be read has none, and fails to be written
	return slices.Contains(strings.Split(string(raw), "\n"), line)
}
