// Package tmpfiles makes, removes and cleans up what tmpfiles.d(5) says, in the
// subset that machines without systemd have.
//
// All lines are read before the first is applied, and one that is outside the
// subset refuses them all. No path leads out of the root.
package tmpfiles

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strings"
	"time"

	"holdfast/internal/ignition/rooted"
)

// Dirs are where the files are; of two with one name the earlier folder's counts.
var Dirs = []string{"/etc/tmpfiles.d", "/run/tmpfiles.d", "/usr/local/lib/tmpfiles.d", "/usr/lib/tmpfiles.d"}

// A Line is one that was read.
type Line struct {
	File   string
	Number int
	Type   byte
	// Modifiers of the type.
	Replace, Boot, Optional, Force bool

	Path        string
	Mode        int // -1: none
	Masked      bool
	ModeOnce    bool // only for what is made
	User, Group string
	UserOnce    bool
	GroupOnce   bool
	Age         time.Duration // -1: none
	KeepFirst   bool          // the first level is not cleaned up
	Argument    string
}

// A Problem is a line that is not of the subset.
type Problem struct {
	File    string
	Line    int
	Problem string
}

func (p Problem) Error() string { return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Problem) }

// A Config says where and for whom.
type Config struct {
	Root string
	Host Host
	Now  func() time.Time // nil: the clock
	Log  *slog.Logger     // nil: none
}

// A Host is what specifiers ask about the machine.
type Host struct{ Name, MachineID, BootID, Kernel string }

// A Set is all lines of a machine, and its root.
type Set struct {
	Config
	Lines []Line
	dir   *rooted.Dir
	ids   ids
}

// Load reads the lines of a root; close the set. The error is of the disk, or
// joins the problems.
func Load(c Config) (*Set, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := rooted.Open(c.Root)
	if err != nil {
		return nil, err
	}
	s := &Set{Config: c, dir: dir}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return s, nil
}

// Close closes the root.
func (s *Set) Close() error { return s.dir.Close() }

func (s *Set) load() error {
	files, err := s.files()
	if err != nil {
		return err
	}
	var problems []error
	for _, at := range files {
		place, err := s.dir.Follow(at)
		if err != nil {
			return err
		}
		info, err := s.dir.Stat(place)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			continue // masked by a link to /dev/null
		}
		raw, err := s.dir.ReadFile(place)
		if err != nil {
			return err
		}
		lines, wrong := Parse(at, raw, s.Host)
		s.Lines = append(s.Lines, lines...)
		for _, p := range wrong {
			problems = append(problems, p)
		}
	}
	s.Lines = once(s.Lines, s.Log)
	return errors.Join(problems...)
}

// files are those of all folders by name.
func (s *Set) files() ([]string, error) {
	found := map[string]string{}
	for _, dir := range Dirs {
		at, err := s.dir.Follow(dir)
		if err != nil {
			return nil, err
		}
		entries, err := fs.ReadDir(s.dir.FS(), at)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".conf") && found[e.Name()] == "" {
				found[e.Name()] = path.Join(dir, e.Name())
			}
		}
	}
	var list []string
	for _, at := range found {
		list = append(list, at)
	}
	slices.SortFunc(list, func(a, b string) int { return strings.Compare(path.Base(a), path.Base(b)) })
	return list, nil
}

// once keeps the first line of each path, and all of w: as systemd-tmpfiles does
// it, with a warning.
func once(lines []Line, log *slog.Logger) []Line {
	seen := map[string]Line{}
	kept := slices.DeleteFunc(lines, func(l Line) bool {
		first, twice := seen[l.Path]
		if !twice {
			seen[l.Path] = l
			return false
		}
		if together(first, l) {
			return false
		}
		log.Warn("a line for the same path was read before", "file", l.File, "line", l.Number, "path", l.Path)
		return true
	})
	// What is above comes before what is below it.
	slices.SortStableFunc(kept, func(a, b Line) int {
		if g := strings.Compare(globbing(a), globbing(b)); g != 0 {
			return g
		}
		return strings.Compare(a.Path, b.Path)
	})
	return kept
}

// together says whether two lines of one path both count.
func together(a, b Line) bool {
	appends := func(l Line) bool { return l.Type == 'w' }
	makes := func(l Line) bool { return l.Type == 'f' || l.Type == 'F' }
	return appends(a) && appends(b) && a.Replace && b.Replace || makes(a) && appends(b) || appends(a) && makes(b) || (globbing(a) != globbing(b) && !appends(a) && !appends(b))
}

// globbing tells lines that make things from those that work on what is there,
// which are applied behind them.
func globbing(l Line) string {
	if strings.IndexByte("wzZrRexX", l.Type) >= 0 {
		return "1"
	}
	return "0"
}
