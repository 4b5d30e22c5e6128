package recipe

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"holdfast/internal/atomicfile"
	"holdfast/internal/deb"
	"holdfast/internal/input"
	"holdfast/internal/oci"
)

// A Lock is a recipe.lock. docs/formats/lock.md is its reference.
type Lock struct {
	Version      int        `yaml:"version"`
	Recipe       oci.Digest `yaml:"recipe"`
	Suite        string     `yaml:"suite"`
	Architecture string     `yaml:"architecture"`
	Go           string     `yaml:"go"`
	Date         time.Time  `yaml:"date"` // the newest index's; UTC, whole seconds
	Indexes      []Index    `yaml:"indexes"`
	Packages     []deb.Pin  `yaml:"packages"`       // of the tree, by name
	Boot         []deb.Pin  `yaml:"boot,omitempty"` // kernel and stub, by name
}

// An Index is one list of packages that the lock was resolved from.
type Index struct {
	Suite  string `yaml:"suite"`
	Path   string `yaml:"path"` // below dists/SUITE
	SHA256 string `yaml:"sha256"`
}

const lockVersion = 1

// A ChangedError says that a recipe is not what its lock was made from.
type ChangedError struct{ Recipe, Locked oci.Digest }

func (e *ChangedError) Error() string {
	return fmt.Sprintf("the recipe changed since it was locked (it is %s, the lock is of %s)",
		e.Recipe.Short(), e.Locked.Short())
}

// Matches says, as a *ChangedError, that the lock is not of r as it is now.
func (l *Lock) Matches(r *Recipe) error {
	now, err := r.Digest()
	if err != nil {
		return err
	}
	if now != l.Recipe {
		return fmt.Errorf("%s: %w", r.path, &ChangedError{Recipe: now, Locked: l.Recipe})
	}
	return l.whole(r)
}

// whole wants what the recipe names itself. A lock that was cut off lacks
// some of it, and may still be read.
func (l *Lock) whole(r *Recipe) error {
	for _, name := range r.names(r.Packages) {
		if !slices.ContainsFunc(l.Packages, func(p deb.Pin) bool { return p.Name == name }) {
			return fmt.Errorf("%s: package %s, which the recipe names, is not in it: lock the recipe again", r.LockPath(), name)
		}
	}
	if r.Machine != nil && len(l.Boot) < 2 {
		return fmt.Errorf("%s: kernel or stub is not in it: lock the recipe again", r.LockPath())
	}
	return nil
}

// ReadLock reads the lock at path, and refuses what no Locker writes.
func ReadLock(path string) (*Lock, error) {
	b, err := input.ReadFile(path, input.Document)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	l := &Lock{}
	if err := decode(b, l); err != nil {
		return nil, fmt.Errorf("%s%w", path, err)
	}
	if err := l.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

func (l *Lock) check() error {
	if l.Version != lockVersion {
		return fmt.Errorf("version %d, this program reads %d: lock the recipe again", l.Version, lockVersion)
	}
	if _, err := oci.ParseDigest(string(l.Recipe)); err != nil {
		return fmt.Errorf("recipe: %w", err)
	}
	if l.Date.IsZero() || l.Date.Nanosecond() != 0 {
		return errors.New("date is missing or not in whole seconds")
	}
	for _, list := range [][]deb.Pin{l.Packages, l.Boot} {
		for i, p := range list {
			if err := p.Check(); err != nil {
				return err
			}
			if i > 0 && list[i-1].Name >= p.Name {
				return fmt.Errorf("package %s: the list is not sorted by name", p.Name)
			}
		}
	}
	return nil
}

// Write writes the lock to path, as one step. The same lock is the same bytes.
func (l *Lock) Write(path string) error {
	raw, err := l.Marshal()
	if err != nil {
		return err
	}
	if err := atomicfile.WriteFile(path, raw, 0o644); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	return nil
}

// Marshal gives the lock as Write writes it.
func (l *Lock) Marshal() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Written by \"holdfast image lock\"; do not edit.\n")
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(l), e.Close()); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	return b.Bytes(), nil
}
