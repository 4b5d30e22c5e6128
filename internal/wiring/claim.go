package wiring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"holdfast/internal/atomicfile"
	"holdfast/internal/broker/admin"
	"holdfast/internal/input"
	"holdfast/internal/keys"
	"holdfast/internal/machine"
)

// keptLogs is how many runs that did not end well are kept for a person.
const keptLogs = 20

// claim takes the run's folder for this process, empty, and sweeps up what
// killed runs left.
func (s *session) claim(ctx context.Context) (release func() error, err error) {
	if err := CheckName(s.Name); err != nil {
		return nil, err
	}
	machines := filepath.Dir(s.folder)
	if err := os.MkdirAll(machines, 0o700); err != nil {
		return nil, err
	}
	unlock, err := tryLock(s.folder + ".lock")
	if err != nil {
		return nil, fmt.Errorf("a run named %s is under way: %w", s.Name, err)
	}
	release = func() error { return leave(s.folder, unlock) }
	forget := func(folder string) error { return s.Installation.forgetRun(ctx, s.ring, folder) }
	sweep(machines, forget)
	if err := errors.Join(forget(s.folder), os.RemoveAll(s.folder), os.Mkdir(s.folder, 0o700)); err != nil {
		return nil, errors.Join(err, release())
	}
	return release, nil
}

// registeredFile holds, in a run's folder, what the broker has only for it.
const registeredFile = "registered.json"

type registered struct {
	Configuration string   `json:"configuration"`
	Resources     []string `json:"resources"`
}

// forgetRun has the broker forget what a killed run registered: else its
// secrets would lie there for ever.
func (i Installation) forgetRun(ctx context.Context, ring *keys.Ring, folder string) error {
	path := filepath.Join(folder, registeredFile)
	raw, err := input.ReadFile(path, input.Document)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var left registered
	if err == nil {
		err = input.JSON(raw, &left)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	broker, err := i.Admin(ring)
	if err != nil {
		return err
	}
	if err := unlessGone(broker.Withdraw(ctx, left.Configuration)); err != nil {
		return fmt.Errorf("forget killed run %s: %w", filepath.Base(folder), err)
	}
	for _, path := range left.Resources {
		if err := unlessGone(broker.DeleteResource(ctx, path)); err != nil {
			return fmt.Errorf("forget killed run %s: %w", filepath.Base(folder), err)
		}
	}
	return os.Remove(path)
}

// unlessGone takes it well that the broker does not have what it should forget.
func unlessGone(err error) error {
	var answer *admin.RefusedError
	if errors.As(err, &answer) && answer.Status == http.StatusNotFound {
		return nil
	}
	return err
}

// leave lets go of a run's folder.
func leave(folder string, unlock func() error) error {
	return errors.Join(os.Remove(folder+".lock"), unlock())
}

// clearFolder removes what a run made, but for its machine's logs.
func clearFolder(folder string) error {
	logs := filepath.Join(folder, "machine")
	if _, err := os.Stat(filepath.Join(logs, machine.ConsoleLog)); err != nil {
		return os.RemoveAll(folder)
	}
	entries, err := os.ReadDir(folder)
	for _, e := range entries {
		if e.Name() != filepath.Base(logs) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(folder, e.Name())))
		}
	}
	return err
}

// sweep clears the folders of runs that no process has any more, and forgets
// all logs but the latest. What it cannot remove stays for the next.
func sweep(machines string, forget func(folder string) error) {
	entries, _ := os.ReadDir(machines)
	var folders []string
	for _, e := range entries {
		if e.IsDir() {
			folders = append(folders, filepath.Join(machines, e.Name()))
		}
	}
	slices.SortFunc(folders, func(a, b string) int { return cmp.Compare(changed(b), changed(a)) })
	taken, cancel := context.WithCancel(context.Background())
	cancel() // never wait
	kept := 0
	for _, folder := range folders {
		unlock, err := atomicfile.Lock(taken, folder+".lock")
		if err != nil {
			continue
		}
		if forget(folder) == nil { // else the next run tries again
			_ = clearFolder(folder)
		}
		if _, err := os.Stat(folder); err == nil {
			kept++
		}
		if kept > keptLogs {
			_ = os.RemoveAll(folder)
		}
		_ = leave(folder, unlock)
	}
}

// changed is when a run's folder was made or cleared.
func changed(folder string) int64 {
	info, err := os.Stat(folder)
	if err != nil {
		return 0
	}
	return info.ModTime().UnixNano()
}
