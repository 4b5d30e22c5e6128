package wiring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/machine"
	"holdfast/internal/nearest"
)

// An UnknownRunError says that there is no run of a name.
type UnknownRunError struct {
	Name string
	Have []string
}

func (e *UnknownRunError) Error() string {
	return fmt.Sprintf("no run is named %.80q%s", e.Name, nearest.Hint(e.Name, slices.Values(e.Have)))
}

// A RunningError says that a run has not ended.
type RunningError struct{ Name string }

func (e *RunningError) Error() string { return fmt.Sprintf("run %s has not ended", e.Name) }

// Runs lists the runs that are under way and those that are kept, the latest
// first. Before, it clears away what runs left whose processes are gone; what
// went wrong with that is the error, beside a list that is good.
func (i Installation) Runs(ctx context.Context) ([]*Record, error) {
	err := i.sweep(ctx)
	return i.Known(), err
}

// Known is Runs without clearing anything away: for whom must be quick.
func (i Installation) Known() []*Record {
	list := []*Record{}
	for _, folder := range i.folders() {
		if r, err := readRecord(folder); err == nil {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *Record) int { return b.Created.Compare(a.Created) })
	return list
}

// FindRun gives the record of one run; *UnknownRunError when there is none.
func (i Installation) FindRun(ctx context.Context, name string) (*Record, error) {
	list, err := i.Runs(ctx)
	unknown := &UnknownRunError{Name: name}
	for _, r := range list {
		if r.Name == name {
			return r, nil
		}
		unknown.Have = append(unknown.Have, r.Name)
	}
	return nil, errors.Join(unknown, err)
}

// Output is the path of the journal of a run, ConsolePath that of what its
// machine wrote to its serial port.
func (i Installation) Output(name string) string { return filepath.Join(i.Machine(name), outputFile) }
func (i Installation) ConsolePath(name string) string {
	return filepath.Join(i.Machine(name), machineFile, machine.ConsoleLog)
}

// Alive says whether a process has the run.
func (i Installation) Alive(name string) bool {
	folder := i.Machine(name)
	if _, err := os.Stat(folder + ".lock"); err != nil {
		return false
	}
	unlock, err := lockNow(folder)
	if err != nil {
		return true
	}
	return leave(folder, unlock) != nil
}

const aliveEvery = 50 * time.Millisecond

// AwaitRun returns when the run has ended. The record is the last one; of a
// run that was removed with its end it is the last that was seen.
func (i Installation) AwaitRun(ctx context.Context, name string) (*Record, error) {
	r, err := i.FindRun(ctx, name)
	if err != nil || r.Over() {
		return r, err
	}
	for i.Alive(name) {
		if now, err := readRecord(i.Machine(name)); err == nil {
			r = now
		}
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-time.After(aliveEvery):
		}
	}
	last, err := i.FindRun(ctx, name)
	if err != nil || !last.Created.Equal(r.Created) {
		return r, nil
	}
	return last, nil
}

// afterGrace is how long a run may take to end once its workload has: its
// servers drain, its broker is told.
const afterGrace = 30 * time.Second

// StopRun asks a run to end, and returns when it has. Its workload is killed
// after grace, at once when that is 0. A run that has ended already is left
// as it is.
func (i Installation) StopRun(ctx context.Context, name string, grace time.Duration) (*Record, error) {
	r, err := i.FindRun(ctx, name)
	if err != nil || r.Over() {
		return r, err
	}
	process, err := i.ask(r, grace)
	if err != nil {
		return r, fmt.Errorf("stop run %s: %w", name, err)
	}
	defer process.Release()
	waiting, cancel := context.WithTimeout(ctx, grace+afterGrace)
	defer cancel()
	last, err := i.AwaitRun(waiting, name)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		_ = process.Kill()
		last, err = i.AwaitRun(ctx, name)
	}
	return last, err
}

// ask tells the run's process until when its workload may live, and to end.
// The handle is of a process (pidfd_open(2)), so a number that was given to
// another one meanwhile does no harm: the run's lock is held after the handle
// was taken, thus by whom the handle means.
func (i Installation) ask(r *Record, grace time.Duration) (*os.Process, error) {
	process, err := os.FindProcess(r.PID)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(i.Machine(r.Name), stopFile)
	_, err = os.Stat(path)
	asked := err == nil
	deadline := time.Now().Add(grace).UnixMilli()
	if err := atomicfile.WriteFile(path, []byte(strconv.FormatInt(deadline, 10)), 0o600); err != nil && !isAbsent(err) {
		return nil, err
	}
	now, err := readRecord(i.Machine(r.Name))
	if err != nil || now.PID != r.PID || !i.Alive(r.Name) || asked {
		return process, nil // it ended by itself, or was asked before: a second signal would end it at once
	}
	err = process.Signal(syscall.SIGTERM)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	return process, err
}

// RemoveRun forgets a run that has ended; with force it is ended first.
func (i Installation) RemoveRun(ctx context.Context, name string, force bool) error {
	r, err := i.FindRun(ctx, name)
	if err != nil {
		return err
	}
	if force && !r.Over() {
		if _, err := i.StopRun(ctx, name, 0); err != nil {
			return err
		}
	}
	folder := i.Machine(name)
	unlock, err := tryLock(folder + ".lock") // who looks after all runs has it for a moment
	if errors.Is(err, ErrBusy) {
		return &RunningError{name}
	}
	if err != nil {
		return err
	}
	return errors.Join(i.bury(ctx, folder), os.RemoveAll(folder), i.forgetReport(name), leave(folder, unlock))
}

// stopBy is when the workload is to be killed that was asked to end at since:
// as ask wrote it, else after the usual time.
func (s *session) stopBy(since time.Time) time.Time {
	raw, err := os.ReadFile(s.path(stopFile))
	if err != nil {
		return since.Add(usualGrace)
	}
	ms, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return since.Add(usualGrace)
	}
	return time.UnixMilli(ms)
}
