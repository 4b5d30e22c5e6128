package ipfs

import (
	"context"
	"errors"
	"sync"
	"time"

	"holdfast/internal/blob"
	"holdfast/internal/blob/pool"
	"holdfast/internal/oci"
)

// A settler brings the index up with the pool, in the background and one blob
// at a time. It waits until nothing was stored for a while, so that it takes
// no processor from pushes; what is needed sooner, Store.DAG makes at once.
type settler struct {
	store *Store
	wake  chan struct{}

	mu      sync.Mutex          // guards what follows
	pending map[oci.Digest]bool // true: look at the blob's bytes, too
	all     bool                // compare the whole pool with the index
	held    int                 // by those who want the processors
	last    time.Time           // something was stored, or held
	since   time.Time           // something is pending
	failed  bool                // the index lacks something that nobody will come back to

	cancel context.CancelFunc
	done   chan struct{} // nil: it does not run
}

const (
	patience = time.Minute    // for how long pushes that never end put it off
	most     = 1 << 16        // blobs that are pending by name
	again    = 24 * time.Hour // by then what was collected leaves the index, too
)

func newSettler(s *Store) *settler {
	return &settler{store: s, wake: make(chan struct{}, 1), pending: map[oci.Digest]bool{}}
}

// Start lets the index follow the pool until Close. Only after a crash, or
// when the index was lost, it reads the names of all blobs.
func (s *Store) Start() {
	t := s.settler
	ctx, cancel := context.WithCancel(context.Background())
	t.cancel, t.done = cancel, make(chan struct{})
	go func() {
		defer close(t.done)
		t.run(ctx)
	}()
}

// Stored says that the pool has got the blob d.
func (s *Store) Stored(d oci.Digest) {
	info, err := s.config.Pool.Stat(d)
	if err == nil && info.Size > MaxBlock {
		s.settler.add(d)
	}
}

// Hold says that the processors are wanted for something else until release
// is called, so the index can wait.
func (s *Store) Hold() (release func()) {
	s.settler.hold(1)
	return func() { s.settler.hold(-1) }
}

func (t *settler) hold(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held += n
	t.last = time.Now()
}

func (t *settler) add(d oci.Digest) { t.note(func() { t.pending[d] = t.pending[d] || false }) }
func (t *settler) sweep()           { t.note(func() { t.all = true }) }

// check has the blob's bytes looked at, and says whether that is new: who asks
// for a wrong block again and again does not put it off.
func (t *settler) check(d oci.Digest) bool {
	t.mu.Lock()
	known := t.pending[d]
	t.mu.Unlock()
	if !known {
		t.note(func() { t.pending[d] = true })
	}
	return !known
}

func (t *settler) note(what func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = time.Now()
	if len(t.pending) == 0 && !t.all {
		t.since = t.last
	}
	what()
	if len(t.pending) > most {
		clear(t.pending)
		t.all = true
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *settler) stop() {
	if t.done == nil {
		return
	}
	t.cancel()
	<-t.done
	t.done = nil
}

func (t *settler) run(ctx context.Context) {
	settled, err := t.store.index.unsettle()
	if err = t.store.repair(err); err != nil {
		t.store.config.Logger.Error("the index of IPFS blocks cannot be opened", "cause", err)
	}
	if !settled {
		t.sweep()
	}
	daily := time.NewTicker(again)
	defer daily.Stop()
	for t.rest(ctx, daily.C) {
		if err := t.settle(ctx); err != nil && ctx.Err() == nil {
			t.store.config.Logger.Error("blobs cannot be indexed for IPFS", "cause", err)
			t.note(func() { t.failed = true })
		}
	}
	if t.idle() {
		_ = t.store.index.settle() // else the next start looks at everything
	}
}

// rest waits until there is something to do and a good time to do it.
func (t *settler) rest(ctx context.Context, look <-chan time.Time) bool {
	for {
		var tick <-chan time.Time
		if wait, any := t.wait(); any && wait <= 0 {
			return ctx.Err() == nil
		} else if any {
			tick = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return false
		case <-t.wake:
		case <-tick:
		case <-look:
			t.sweep()
		}
	}
}

func (t *settler) wait() (d time.Duration, any bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held > 0 {
		t.last = time.Now()
	}
	return min(time.Until(t.last.Add(t.store.config.Quiet)), time.Until(t.since.Add(patience))), t.all || len(t.pending) > 0
}

func (t *settler) idle() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.all && !t.failed && len(t.pending) == 0
}

// settle does one thing that is pending.
func (t *settler) settle(ctx context.Context) error {
	t.mu.Lock()
	all := t.all
	t.all = false
	d, check := oci.Digest(""), false
	if !all {
		for d, check = range t.pending {
			break // any will do
		}
		delete(t.pending, d)
	}
	t.mu.Unlock()
	if all {
		return t.settleAll(ctx)
	}
	return t.settleOne(ctx, d, check)
}

// settleAll finds out which blobs the index lacks, and which it has that are
// gone.
func (t *settler) settleAll(ctx context.Context) error {
	var todo []oci.Digest
	err := t.store.config.Pool.Walk(ctx, func(i pool.Info) error {
		if i.Size > MaxBlock {
			todo = append(todo, i.Digest)
		}
		return nil
	})
	if err == nil {
		err = t.store.repair(t.store.index.eachBlob(func(d oci.Digest) error {
			if _, err := t.store.config.Pool.Stat(d); errors.Is(err, blob.ErrNotFound) {
				todo = append(todo, d)
			}
			return nil
		}))
	}
	for _, d := range todo {
		if err = errors.Join(err, ctx.Err()); ctx.Err() != nil {
			break
		}
		err = errors.Join(err, t.settleOne(ctx, d, false))
	}
	if err != nil && ctx.Err() != nil {
		t.sweep() // by the next start
	}
	return err
}

// settleOne makes the index say of d what is true.
func (t *settler) settleOne(ctx context.Context, d oci.Digest, check bool) error {
	if check {
		if err := t.store.verify(ctx, d); err != nil {
			if ctx.Err() != nil {
				t.check(d) // by the next start
			}
			return err
		}
	}
	_, err := t.store.DAG(ctx, d)
	switch {
	case errors.Is(err, blob.ErrNotFound):
		return t.store.forget(d)
	case gaveUp(err):
		t.add(d)
	}
	return err
}
