package ipfs

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// An index says where blocks of larger blobs lie. It opens its file when it is
// asked something and lets go of it when it has been idle, so that a verb can
// read while a server runs, and a server that has nothing to do holds nothing.
type index struct {
	path string

	used atomic.Bool // since closer ran last

	mu     sync.RWMutex // guards what follows
	db     *bolt.DB     // open for reading, or nil
	closer *time.Timer
	closed bool
}

const (
	idleTime = time.Second
	lockTime = 10 * time.Second // how long another process may keep the file to itself
)

var (
	dagsBucket   = []byte("dags")
	blobsBucket  = []byte("blobs")
	blocksBucket = []byte("blocks")
	stateBucket  = []byte("state")
	settledKey   = []byte("settled")
)

var errIndexClosed = errors.New("index is closed")

// view runs fn over the index; it does not run it when there is none yet.
func (x *index) view(fn func(*bolt.Tx) error) error {
	for { // whoever writes may close what was opened
		there, err := x.open()
		if err != nil || !there {
			return x.explain(err)
		}
		if ran, err := x.viewOpen(fn); ran {
			return x.explain(err)
		}
	}
}

// viewOpen runs fn if the file is still open.
func (x *index) viewOpen(fn func(*bolt.Tx) error) (ran bool, err error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.db == nil {
		return false, nil
	}
	return true, guarded(func() error { return x.db.View(fn) })
}

// open opens the file for reading when it is not open, and says whether there
// is one.
func (x *index) open() (there bool, err error) {
	x.used.Store(true)
	x.mu.RLock()
	ready := x.db != nil
	x.mu.RUnlock()
	if ready {
		return true, nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.db != nil || x.closed {
		return x.db != nil, nil
	}
	if info, err := os.Stat(x.path); errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0 {
		return false, nil // bbolt would want to write a page
	}
	db, err := openBolt(x.path, true)
	if err != nil {
		return false, err
	}
	x.db, x.closer = db, time.AfterFunc(idleTime, x.rest)
	return true, nil
}

// rest closes the file once nobody used it for a while.
func (x *index) rest() {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.db == nil:
	case x.used.Swap(false):
		x.closer.Reset(idleTime)
	default:
		x.release()
	}
}

// update runs fn in a transaction that writes. What fn wrote is on the disk
// when update returns.
func (x *index) update(fn func(*bolt.Tx) error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return x.explain(errIndexClosed)
	}
	x.release()
	db, err := openBolt(x.path, false)
	if err != nil {
		return x.explain(err)
	}
	err = guarded(func() error { return db.Update(fn) })
	return x.explain(errors.Join(err, db.Close()))
}

// release lets go of the file. Caller holds mu.
func (x *index) release() {
	if x.db == nil {
		return
	}
	x.closer.Stop()
	_ = x.db.Close()
	x.db = nil
}

func (x *index) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.release()
	x.closed = true
}

// discard throws the file away.
func (x *index) discard() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.release()
	if err := os.Remove(x.path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// A damagedError is a file that is no index: it can be thrown away.
type damagedError struct{ cause any }

func (e *damagedError) Error() string { return fmt.Sprintf("damaged: %v", e.cause) }

func (x *index) explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("index %s: %w", x.path, err)
}

func openBolt(path string, readOnly bool) (db *bolt.DB, err error) {
	err = guarded(func() error {
		db, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: lockTime, ReadOnly: readOnly, FreelistType: bolt.FreelistMapType})
		return err
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, errors.New("another process holds it")
	}
	for _, bad := range []error{berrors.ErrInvalid, berrors.ErrVersionMismatch, berrors.ErrChecksum} {
		if errors.Is(err, bad) {
			return nil, &damagedError{err}
		}
	}
	return db, err
}

// guarded makes an error of the panics, and of the faults, by which bbolt
// answers a file whose pages are not what they should be.
func guarded(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = &damagedError{cause}
		}
	}()
	return fn()
}
