package recipe

import (
	"context"
	"errors"
	"time"

	"holdfast/internal/deb"
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

// Load reads and validates the recipe at path, a file or the folder of a
// recipe.yaml.
func Load(path string) (*Recipe, error) { return nil, errors.New("not yet") }

// Digest names the recipe and the source files it refers to.
func (r *Recipe) Digest() (oci.Digest, error) { return "", errors.New("not yet") }

// Dir is the folder of the recipe, which Source files are relative to.
func (r *Recipe) Dir() string { return "" }

// LockPath is where the recipe's lock belongs: recipe.lock beside it.
func (r *Recipe) LockPath() string { return "" }

// ReadLock reads the lock at path.
func ReadLock(path string) (*Lock, error) { return nil, errors.New("not yet") }

// Write writes the lock to path, as one step.
func (l *Lock) Write(path string) error { return errors.New("not yet") }

// Matches says, as an error, that the lock is not of r as it is now.
func (l *Lock) Matches(r *Recipe) error { return errors.New("not yet") }

// A Locker turns recipes into locks.
type Locker struct {
	Archive *deb.Archive
	Go      string // toolchain for programs, as "go1.26.8"; by default this program's own
}

// Lock resolves r against the archive as it is today.
func (l Locker) Lock(ctx context.Context, r *Recipe) (*Lock, error) {
	return nil, errors.New("not yet")
}
