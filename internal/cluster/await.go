package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"holdfast/internal/progress"
)

// Patience is how long a part of a cluster may take to be ready, if nobody says
// otherwise.
const Patience = 2 * time.Minute

const pollEvery = 100 * time.Millisecond

// A SlowError says that a part of a cluster was not ready in time.
type SlowError struct {
	After time.Duration
	Last  error // what it answered
}

func (e *SlowError) Error() string { return fmt.Sprintf("not after %v: %v", e.After, e.Last) }

func (e *SlowError) Unwrap() error { return e.Last }

func (f *Fleet) step(name string, do func() error) error {
	step := f.Progress.Start(name, 0, progress.None)
	if err := do(); err != nil {
		step.Fail()
		return err
	}
	step.Done("")
	return nil
}

// await asks until what it asks about holds. A node whose machine ends meanwhile
// ends it.
func (f *Fleet) await(ctx context.Context, s *Spec, nodes []Node, ask func(context.Context) error) error {
	patience := cmp.Or(s.patience, Patience)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	for {
		once, done := context.WithTimeout(ctx, 5*time.Second)
		err := ask(once)
		done()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		for _, n := range nodes {
			if alive, err := f.Machines.Alive(n.Machine); err != nil || !alive {
				return errors.Join(fmt.Errorf("node %s ended; its log is %s", n.Name, filepath.Join(f.nodeDir(s.Name, n.Name), "machine.log")), err)
			}
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return &SlowError{patience, last}
			}
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}
