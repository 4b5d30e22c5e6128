package wiring

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
		err = errors.Join(i.mustOpen(r, checkOnly), r.Err())
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
	sealer, inNoHSM, done, err := by.sealerIfAny(ctx)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, done()) }()
	kept, err := state.Open(ctx, state.Config{Dir: i.Broker(), Sealer: sealer})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, kept.Close()) }()
	if r.State, err = kept.Check(ctx); err != nil {
		return r, err
	}
	if r.Needs, err = lacking(ctx, kept, sealer); err != nil {
		return r, err
	}
	for n := range r.Needs {
		r.Needs[n].HSM = slices.Contains(inNoHSM, r.Needs[n].ID)
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
// nothing opens. Of masters in an HSM it says which cannot be reached, because
// none is named.
func (i Installation) sealerIfAny(ctx context.Context) (_ state.Sealer, inNoHSM []seal.ID, done func() error, err error) {
	if _, err := os.Stat(i.Masters()); errors.Is(err, fs.ErrNotExist) {
		return state.Keyless{}, nil, func() error { return nil }, nil
	}
	v, err := i.openVault(ctx, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	records, err := v.ring.Records()
	if err != nil {
		return nil, nil, nil, errors.Join(err, v.Close())
	}
	for _, r := range records {
		if r.Kind == hsm.MasterKind && v.hsm == nil {
			inNoHSM = append(inNoHSM, r.ID)
		}
	}
	return v.sealer, inNoHSM, v.Close, nil
}

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
