package wiring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/atomicfile"
	"holdfast/internal/broker/audit"
	"holdfast/internal/broker/backup"
	"holdfast/internal/broker/state"
	"holdfast/internal/hsm"
	"holdfast/internal/input"
	"holdfast/internal/keys"
	"holdfast/internal/seal"
)

// A BrokerReport is what a broker's state, or a backup of one, was found to be.
type BrokerReport struct {
	State state.Report     `json:"state"`
	Audit audit.Report     `json:"audit"`
	Made  *backup.Manifest `json:"backup,omitempty"`
	Keys  bool             `json:"keys,omitempty"` // the backup has the installation's

	NeedsHSM bool `json:"needs_hsm,omitempty"` // masters are in one, and none is named here
}

// Err tells what of it is not as it should be; resources that do not open may
// only lack their key.
func (r BrokerReport) Err() error {
	if n := len(r.Audit.Problems); n > 0 {
		return fmt.Errorf("the audit log is not what was written: %s", r.Audit.Problems[0])
	}
	return nil
}

// CheckBroker reads all that the installation's broker keeps.
func (i Installation) CheckBroker(ctx context.Context) (r BrokerReport, err error) {
	kept, err := i.openState(nil)
	if err != nil {
		return r, err
	}
	defer kept.Close()
	if r.State, err = kept.Check(ctx); err != nil {
		return r, err
	}
	r.Audit, err = i.VerifyAudit(ctx, nil)
	return r, err
}

// BackUp writes what the installation's broker keeps to a file, while it may be
// served: the state as it was at one moment, and at least all of the audit log
// until then. Values stay sealed; the keys that open them, and all others, are
// in it only if withKeys. How to reach the HSM is this machine's own affair and
// never is.
func (i Installation) BackUp(ctx context.Context, path string, withKeys bool) (m backup.Manifest, err error) {
	if _, err := os.Lstat(path); err == nil {
		return m, fmt.Errorf("%s: %w", path, fs.ErrExist)
	}
	kept, err := i.openState(nil)
	if err != nil {
		return m, err
	}
	defer kept.Close()
	temp, err := os.MkdirTemp(i.dir, ".backup-")
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	files := map[string]string{"broker/" + state.File: filepath.Join(temp, state.File)}
	if err := kept.Copy(ctx, files["broker/"+state.File]); err != nil {
		return m, err
	}
	if err := i.rest(files, temp, withKeys); err != nil {
		return m, err
	}
	order := slices.Sorted(maps.Keys(files))
	err = atomicfile.Write(path, 0o600, func(w io.Writer) error {
		m, err = backup.Write(w, time.Now(), files, order)
		return err
	})
	return m, err
}

// rest adds what is in files anyway: the audit log and its key, and the keys.
// Links to the log's files keep what they are while one is put away.
func (i Installation) rest(files map[string]string, temp string, withKeys bool) error {
	logs, err := audit.Files(i.Broker())
	if err != nil {
		return err
	}
	for _, path := range append(logs, filepath.Join(i.Broker(), "audit.key")) {
		link := filepath.Join(temp, filepath.Base(path))
		if err := os.Link(path, link); err != nil {
			return err
		}
		files["broker/"+filepath.Base(path)] = link
	}
	if !withKeys {
		return nil
	}
	return filepath.WalkDir(i.Keys(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || path == i.hsmFile() {
			return err
		}
		rel, err := filepath.Rel(i.dir, path)
		files[filepath.ToSlash(rel)] = path
		return err
	})
}

// Restore checks a backup and, unless checkOnly, makes it what the
// installation's broker keeps. A broker that keeps anything is left alone, and
// so are keys that are there.
func (i Installation) Restore(ctx context.Context, path string, checkOnly bool) (r BrokerReport, err error) {
	in, err := input.Open(path)
	if err != nil {
		return r, err
	}
	defer in.Close()
	temp, err := os.MkdirTemp(i.dir, ".restore-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	m, err := backup.Unpack(in, temp)
	if err != nil {
		return r, fmt.Errorf("%s: %w", path, err)
	}
	from := Installation{temp}
	if err := from.takeHSM(i); err != nil {
		return r, err
	}
	r, err = from.judge(ctx, i)
	r.Made = &m
	if err == nil {
		err = r.Err()
	}
	if err != nil || checkOnly {
		return r, err
	}
	return r, i.adopt(from, r.Keys)
}

// takeHSM has an unpacked backup use the HSM of the installation that it is
// for, or none: hsm.json names a program and a library that are run, and no
// backup may choose those.
func (i Installation) takeHSM(target Installation) error {
	if err := os.RemoveAll(i.hsmFile()); err != nil {
		return err
	}
	if _, err := os.Stat(i.Keys()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	raw, err := input.ReadFile(target.hsmFile(), input.Key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(i.hsmFile(), raw, 0o600)
}

// judge checks an unpacked backup, by its own keys or, where it has none, by
// those of the installation that it is for.
func (i Installation) judge(ctx context.Context, target Installation) (r BrokerReport, err error) {
	by := i
	if _, err := os.Stat(i.Keys()); err == nil {
		r.Keys = true
	} else {
		by = target
	}
	sealer, needs, done, err := by.sealerIfAny(ctx)
	if err != nil {
		return r, err
	}
	r.NeedsHSM = needs
	defer func() { err = errors.Join(err, done()) }()
	kept, err := state.Open(ctx, state.Config{Dir: i.Broker(), Sealer: sealer})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, kept.Close()) }()
	if r.State, err = kept.Check(ctx); err != nil {
		return r, err
	}
	var head api.AuditHead
	if head, err = kept.AuditHead(ctx); err != nil {
		return r, err
	}
	logs, err := audit.Files(i.Broker())
	if err != nil {
		return r, err
	}
	ring, err := keys.Open(ctx, by.Keys(), time.Now())
	if errors.Is(err, keys.ErrNotExist) {
		r.Audit, err = audit.Verify(logs, &head, nil)
		return r, err
	}
	if err != nil {
		return r, err
	}
	r.Audit, err = audit.Verify(logs, &head, ring.RootPool())
	return r, err
}

// sealerIfAny opens what seals resources, but makes no key: without one,
// nothing opens.
func (i Installation) sealerIfAny(ctx context.Context) (_ state.Sealer, needsHSM bool, done func() error, err error) {
	if _, err := os.Stat(i.Masters()); errors.Is(err, fs.ErrNotExist) {
		return noSealer{}, false, func() error { return nil }, nil
	}
	v, err := i.openVault(ctx, nil)
	if err != nil {
		return nil, false, nil, err
	}
	records, err := v.ring.Records()
	if err != nil {
		return nil, false, nil, errors.Join(err, v.Close())
	}
	inHSM := slices.ContainsFunc(records, func(r seal.Record) bool { return r.Kind == hsm.MasterKind })
	return v.sealer, inHSM && v.hsm == nil, v.Close, nil
}

// noSealer stands for keys that are not at hand.
type noSealer struct{}

var errNoSealer = errors.New("the keys that seal resources are not here")

func (noSealer) Seal(context.Context, string, []byte) ([]byte, error) { return nil, errNoSealer }
func (noSealer) Open(context.Context, string, []byte) ([]byte, error) { return nil, errNoSealer }

// adopt makes the folders of a backup the installation's, the keys first: a
// broker without its keys could be mistaken for one that has new ones.
func (i Installation) adopt(from Installation, withKeys bool) error {
	folders := [][2]string{{from.Broker(), i.Broker()}}
	if withKeys {
		folders = slices.Insert(folders, 0, [2]string{from.Keys(), i.Keys()})
	}
	for _, f := range folders {
		if err := vacate(f[1]); err != nil {
			return err
		}
	}
	for _, f := range folders {
		if err := errors.Join(atomicfile.SyncDir(f[0]), os.Rename(f[0], f[1])); err != nil {
			return err
		}
	}
	return atomicfile.SyncDir(i.dir)
}

// vacate makes way where there are no more than locks, and the HSM's settings,
// which takeHSM copied.
func vacate(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if e.Name() != "lock" && e.Name() != hsmName && !strings.HasSuffix(e.Name(), ".lock") {
			return fmt.Errorf("%s holds %s: %w", dir, e.Name(), ErrNotEmpty)
		}
	}
	for _, e := range entries {
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	if err := os.Remove(dir); !errors.Is(err, fs.ErrNotExist) { // os.Rename replaces no folder
		return err
	}
	return nil
}

// ErrNotEmpty is matched when a backup would replace what is there.
var ErrNotEmpty = errors.New("a backup is restored only where nothing is")
