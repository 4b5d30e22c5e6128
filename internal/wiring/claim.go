package wiring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/machine"
	"holdfast/internal/machine/qemu"
)

// keptRuns is how many runs that ended are kept for a person.
const keptRuns = 20

// claim takes the run's folder for this process, empty, and clears away what
// runs left whose processes are gone.
func (s *session) claim(ctx context.Context) (release func() error, err error) {
	if err := CheckName(s.Name); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.Installation.machines(), 0o700); err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, burial)
	defer cancel()
	unlock, err := takeFolder(waiting, s.folder)
	if errors.Is(err, ErrBusy) && ctx.Err() == nil {
		unlock, err = tryLock(s.folder + ".lock")
	}
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("a run named %s is under way: %w", s.Name, err)
	}
	release = func() error { return leave(s.folder, unlock) }
	if err := s.Installation.bury(ctx, s.folder); err != nil {
		return nil, errors.Join(err, release())
	}
	err = errors.Join(os.RemoveAll(s.folder), os.Mkdir(s.folder, 0o700))
	if err == nil {
		s.record, err = s.newRecorder()
	}
	if err != nil {
		return nil, errors.Join(err, release())
	}
	// Nobody waits for this folder now that its record has a process.
	if err := s.Installation.sweep(ctx); err != nil && s.Log != nil {
		s.Log.Warn("something of an earlier run is left", "err", err)
	}
	return release, nil
}

func (i Installation) machines() string { return filepath.Join(i.dir, "machines") }

// leave lets go of a run's folder.
func leave(folder string, unlock func() error) error {
	return errors.Join(os.Remove(folder+".lock"), unlock())
}

// lockNow takes the lock of a run that no process has, and never waits.
func lockNow(folder string) (unlock func() error, err error) {
	never, cancel := context.WithCancel(context.Background())
	cancel()
	unlock, err = atomicfile.Lock(never, folder+".lock")
	if errors.Is(err, context.Canceled) {
		err = ErrBusy
	}
	return unlock, err
}

// How long runs without a process may be under others' care: the one that is
// claimed, and all others together.
const (
	burial  = 10 * time.Second
	burials = 2 * time.Second
)

// takeFolder takes the lock of a run that no process has. Who buries a run has
// its lock for a moment: that is waited for until ctx ends.
func takeFolder(ctx context.Context, folder string) (unlock func() error, err error) {
	for {
		unlock, err = lockNow(folder)
		if !errors.Is(err, ErrBusy) || !isAbandoned(folder) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(aliveEvery):
		}
	}
}

// isAbandoned says whether a run has not ended, and its process is gone.
func isAbandoned(folder string) bool {
	r, err := readRecord(folder)
	return err == nil && !r.Over() && errors.Is(syscall.Kill(r.PID, 0), syscall.ESRCH)
}

// bury ends the record of a run that has no process any more, whose lock the
// caller holds, and takes back what the run could not: its authorisation, its
// secrets, its files. Its QEMU and its TPM ended with it.
func (i Installation) bury(ctx context.Context, folder string) error {
	r, err := readRecord(folder)
	if isAbsent(err) {
		return clearFolder(folder)
	}
	if err != nil {
		return errors.Join(os.RemoveAll(filepath.Join(folder, recordFile)), clearFolder(folder))
	}
	if r.Over() && !r.owes() {
		return nil
	}
	if err := i.takeBack(ctx, r); err != nil {
		return fmt.Errorf("run %s has ended: take back what it had: %w", r.Name, err)
	}
	if now := time.Now(); !r.Over() {
		r.State, r.Ended, r.Reason = Dead, &now, "its process vanished"
	}
	r.PID, r.Configuration, r.Secrets, r.TPM = 0, "", nil, ""
	rec := recorder{path: filepath.Join(folder, recordFile), record: *r}
	return errors.Join(rec.write(), clearFolder(folder))
}

// takeBack withdraws what r says the broker has for it.
func (i Installation) takeBack(ctx context.Context, r *Record) error {
	if strings.HasPrefix(filepath.Base(r.TPM), "swtpm-") {
		_ = os.RemoveAll(r.TPM)
	}
	if r.Configuration == "" && len(r.Secrets) == 0 {
		return nil
	}
	ring, err := i.Ring(ctx)
	if err != nil {
		return err
	}
	broker, err := i.Admin(ring)
	if err != nil {
		return err
	}
	return withdraw(ctx, broker, r.Configuration, r.Secrets)
}

// outlives tells the files of a run's folder that stay when it has ended.
func outlives(folder, name string) bool {
	switch name {
	case recordFile, outputFile, outputFile + ".1":
		return true
	case machineFile:
		_, err := os.Stat(filepath.Join(folder, name, machine.ConsoleLog))
		return err == nil
	}
	return false
}

// clearFolder removes what a run made, but for what outlives it.
func clearFolder(folder string) error {
	entries, err := os.ReadDir(folder)
	if isAbsent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	kept := 0
	for _, e := range entries {
		if outlives(folder, e.Name()) {
			kept++
			if e.Name() == machineFile {
				err = errors.Join(err, keepLogs(filepath.Join(folder, machineFile)))
			}
			continue
		}
		err = errors.Join(err, os.RemoveAll(filepath.Join(folder, e.Name())))
	}
	if kept == 0 {
		return errors.Join(err, os.RemoveAll(folder))
	}
	return err
}

// keepLogs removes what a machine had to run, and leaves what it said.
func keepLogs(folder string) error {
	entries, err := os.ReadDir(folder)
	for _, e := range entries {
		if e.Name() != machine.ConsoleLog && e.Name() != qemu.LogFile {
			err = errors.Join(err, os.RemoveAll(filepath.Join(folder, e.Name())))
		}
	}
	return err
}

// sweep buries the runs that no process has any more, and forgets those that
// ended, but for the latest. What it cannot do stays for the next.
func (i Installation) sweep(ctx context.Context) error {
	folders := i.folders()
	slices.SortFunc(folders, func(a, b string) int { return cmp.Compare(changed(b), changed(a)) })
	kept := 0
	var all error
	waiting, cancel := context.WithTimeout(ctx, burials)
	defer cancel()
	for _, folder := range folders {
		unlock, err := takeFolder(waiting, folder)
		if err != nil {
			continue
		}
		if err = i.bury(ctx, folder); err == nil {
			if kept++; kept > keptRuns {
				err = os.RemoveAll(folder)
			}
		}
		all = errors.Join(all, err, leave(folder, unlock))
	}
	return all
}

func (i Installation) folders() (list []string) {
	entries, _ := os.ReadDir(i.machines())
	for _, e := range entries {
		if e.IsDir() {
			list = append(list, filepath.Join(i.machines(), e.Name()))
		}
	}
	return list
}

// changed is when a run's folder was made or cleared.
func changed(folder string) int64 {
	info, err := os.Stat(folder)
	if err != nil {
		return 0
	}
	return info.ModTime().UnixNano()
}
