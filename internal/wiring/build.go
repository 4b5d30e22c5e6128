package wiring

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/blob"
	"holdfast/internal/blob/derived"
	"holdfast/internal/blob/dir"
	"holdfast/internal/boot/efivar"
	"holdfast/internal/boot/guid"
	"holdfast/internal/deb"
	"holdfast/internal/image"
	"holdfast/internal/image/recipe"
	"holdfast/internal/input"
	"holdfast/internal/keys"
	"holdfast/internal/machine"
	"holdfast/internal/machine/qemu"
	"holdfast/internal/progress"
	"holdfast/internal/sign"
)

// Sources say where packages come from.
type Sources struct {
	Mirror  string // instead of the recipe's and the machine's apt sources
	Keyring string // by default Debian's, as the package debian-archive-keyring installs it
	AptDir  string // by default /etc/apt

	Stall time.Duration // how long a mirror may send nothing; 30 s when 0
}

// A Builder makes images in an installation.
type Builder struct {
	Installation Installation
	Sources      Sources
	Node         string // the holdfast-node program built beside this one; may be empty
	Unsigned     bool   // nobody signs what is stated of container images
	Afresh       bool   // everything is made from packages and sources anew
	Progress     progress.Reporter
	Log          *slog.Logger
}

const (
	debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
	aptDir        = "/etc/apt"
)

// archive opens the package archive that r is to be made from, and the store
// that keeps what it fetches.
func (b Builder) archive(r *recipe.Recipe) (*deb.Archive, blob.Store, error) {
	store, err := dir.New(b.Installation.Cache())
	if err != nil {
		return nil, nil, fmt.Errorf("open package cache: %w", err)
	}
	cfg := deb.Config{
		Store: store, Keyring: or(b.Sources.Keyring, debianKeyring), Mirror: or(b.Sources.Mirror, r.Mirror),
		Progress: b.Progress, Log: b.Log, Stall: b.Sources.Stall,
	}
	if cfg.Mirror == "" {
		if cfg.Sources, err = deb.ReadSources(or(b.Sources.AptDir, aptDir)); err != nil {
			return nil, nil, err
		}
	}
	archive, err := deb.New(cfg)
	return archive, store, err
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// Lock resolves the recipe at path, for an architecture ("" is its own), and
// writes its lock beside it. It returns the lock and where it lies.
func (b Builder) Lock(ctx context.Context, path, architecture string) (*recipe.Lock, string, error) {
	r, err := loadFor(path, architecture)
	if err != nil {
		return nil, "", err
	}
	lock, err := b.lockTo(ctx, r, r.LockPath())
	return lock, r.LockPath(), err
}

func (b Builder) lockTo(ctx context.Context, r *recipe.Recipe, path string) (*recipe.Lock, error) {
	archive, _, err := b.archive(r)
	if err != nil {
		return nil, err
	}
	locker := recipe.Locker{Archive: archive, Go: runtime.Version()}
	lock, err := locker.Lock(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", r.Name, err)
	}
	return lock, lock.Write(path)
}

func loadFor(path, architecture string) (*recipe.Recipe, error) {
	r, err := recipe.Load(path)
	if err != nil {
		return nil, err
	}
	return r.For(architecture)
}

// A LockedRecipe is what an image is built from.
type LockedRecipe struct {
	Recipe *recipe.Recipe
	Lock   *recipe.Lock
}

// LoadLocked reads a recipe with its lock. Path is a recipe, its folder, or a
// lock beside its recipe; architecture "" is the recipe's own, or the lock's.
func LoadLocked(path, architecture string) (LockedRecipe, error) {
	lockPath := ""
	if filepath.Ext(path) == ".lock" {
		path, lockPath = filepath.Dir(path), path
	}
	r, err := loadFor(path, architecture)
	if err != nil {
		return LockedRecipe{}, err
	}
	l, err := readLock(r, or(lockPath, r.LockPath()))
	if errors.Is(err, os.ErrNotExist) {
		return LockedRecipe{}, &NoLockError{Recipe: path, Architecture: architecture}
	}
	if err != nil {
		return LockedRecipe{}, err
	}
	if locked := l.Lock.Architecture; lockPath == "" && locked != r.Architecture || architecture != "" && architecture != locked {
		return LockedRecipe{}, &ArchitectureError{Lock: or(lockPath, r.LockPath()), Locked: locked, Want: r.Architecture}
	}
	return l, l.Lock.Matches(l.Recipe)
}

// readLock reads the lock at path; the recipe is then for its architecture.
func readLock(r *recipe.Recipe, path string) (l LockedRecipe, err error) {
	if l.Lock, err = recipe.ReadLock(path); err != nil {
		return l, err
	}
	l.Recipe, err = r.For(l.Lock.Architecture)
	return l, err
}

// An ArchitectureError says that a lock is for another architecture.
type ArchitectureError struct{ Lock, Locked, Want string }

func (e *ArchitectureError) Error() string {
	return fmt.Sprintf("%s is for %s, not for %s", e.Lock, e.Locked, e.Want)
}

// A NoLockError says that a recipe was never locked.
type NoLockError struct{ Recipe, Architecture string }

func (e *NoLockError) Error() string {
	if e.Architecture != "" {
		return fmt.Sprintf("recipe %s has no lock for %s", e.Recipe, e.Architecture)
	}
	return fmt.Sprintf("recipe %s has no lock", e.Recipe)
}

// OCI builds an OCI image layout into dir. What it states of the image is
// signed when the installation has keys.
func (b Builder) OCI(ctx context.Context, l LockedRecipe, dir string) (*image.OCIResult, error) {
	o, err := b.options(ctx, l, dir)
	if err != nil {
		return nil, err
	}
	if !b.Unsigned {
		if o.Signers, err = b.Installation.signers(ctx); err != nil {
			return nil, err
		}
	}
	return image.BuildOCI(ctx, image.OCIOptions{Options: o})
}

// Machine builds a machine image into dir. Without a ring it stays unsigned.
func (b Builder) Machine(ctx context.Context, l LockedRecipe, dir string, ring *keys.Ring) (*image.Machine, error) {
	o, err := b.options(ctx, l, dir)
	if err != nil {
		return nil, err
	}
	mo := image.MachineOptions{Options: o}
	if !b.Afresh {
		mo.Blocks = filepath.Join(b.Installation.Cache(), "blocks", l.Recipe.Name+"-"+l.Lock.Architecture)
	}
	if fw, err := qemu.FindFirmware(); err == nil && l.Lock.Architecture == machineArchitecture {
		mo.Firmware = []string{fw.Code}
	}
	if ring != nil {
		mo.Keys = &image.Keys{Enrolled: enrolled(ring), DB: ring.Pair(keys.DB).Key}
		mo.Signers = []sign.Signer{ring.Statements()}
	}
	return image.BuildMachine(ctx, mo)
}

func (b Builder) options(ctx context.Context, l LockedRecipe, out string) (image.Options, error) {
	archive, store, err := b.archive(l.Recipe)
	if err != nil {
		return image.Options{}, err
	}
	o := image.Options{
		Recipe: l.Recipe, Lock: l.Lock, Archive: archive, Store: store, Output: out, Progress: b.Progress,
	}
	if !b.Afresh {
		o.Derived, err = derived.New(filepath.Join(b.Installation.Cache(), "derived"), maxDerived)
	}
	return o, err
}

// maxDerived holds what some ten images are made of, a kernel for each
// architecture among it.
const maxDerived = 1 << 30

// enrolled are the Secure Boot keys as firmware holds them. The owner of the
// signatures is derived from the root, so the same keys are always the same
// variables.
func enrolled(ring *keys.Ring) efivar.Keys {
	sum := sha256.Sum256(ring.Pair(keys.Root).Certificate.Raw)
	return efivar.Keys{
		Owner: guid.GUID(sum[:16]), PK: ring.Pair(keys.PK).Certificate,
		KEK: ring.Pair(keys.KEK).Certificate, DB: ring.Pair(keys.DB).Certificate,
	}
}

// Fresh calls build with the recipe's committed lock. When that lock cannot
// be built any more, because the mirror dropped a package or Go is another,
// it locks afresh into the installation, says so, and builds from that. The
// recipe's own lock is never touched.
func (b Builder) Fresh(ctx context.Context, path string, build func(LockedRecipe) error) error {
	l, err := LoadLocked(path, "")
	if err != nil {
		return err
	}
	relocked := filepath.Join(b.Installation.Dir(), "locks", l.Lock.Recipe.Hex()+".lock")
	if again, err := recipe.ReadLock(relocked); err == nil && again.Matches(l.Recipe) == nil && !again.Date.Before(l.Lock.Date) {
		l.Lock = again
		progress.Or(b.Progress).Start("use the fresh lock of "+l.Recipe.Name, 0, progress.None).Done("its own was stale; " + relocked)
	}
	err = build(l)
	if !isStale(err) {
		return err
	}
	step := progress.Or(b.Progress).Start("lock "+l.Recipe.Name+" afresh, its lock is stale", 0, progress.None)
	if err := os.MkdirAll(filepath.Dir(relocked), 0o700); err != nil {
		step.Fail()
		return err
	}
	if l.Lock, err = b.lockTo(ctx, l.Recipe, relocked); err != nil {
		step.Fail()
		return err
	}
	step.Done("in " + relocked + "; the recipe's own lock is left as it is")
	return build(l)
}

// isStale tells errors that a fresh lock mends.
func isStale(err error) bool {
	var gone *deb.StaleError
	var toolchain *image.ToolchainError
	return errors.As(err, &gone) || errors.As(err, &toolchain)
}

// preparedVars is a firmware variable store with the ring's keys enrolled.
func (i Installation) preparedVars(ring *keys.Ring, template string) (string, error) {
	raw, err := input.ReadFile(template, input.Firmware)
	if err != nil {
		return "", err
	}
	volume, err := efivar.Enroll(raw, enrolled(ring))
	if err != nil {
		return "", fmt.Errorf("enrol Secure Boot keys into %s: %w", template, err)
	}
	sum := sha256.Sum256(volume)
	path := filepath.Join(i.dir, "firmware", hex.EncodeToString(sum[:8])+".fd")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	return path, atomicfile.WriteFile(path, volume, 0o600)
}

// Firmware is this host's, with the ring's keys enrolled.
func (i Installation) Firmware(ring *keys.Ring) (machine.Firmware, error) {
	fw, err := qemu.FindFirmware()
	if err != nil {
		return fw, err
	}
	fw.Vars, err = i.preparedVars(ring, fw.Vars)
	return fw, err
}
