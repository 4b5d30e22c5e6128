package atomicfile

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// Lock takes the advisory lock that path stands for, waiting for its holder,
// and returns the function that releases it. The kernel drops the lock when
// the process dies, so a crash leaves nothing to clean. A holder may remove
// the file before it releases the lock.
func Lock(ctx context.Context, path string) (unlock func() error, err error) {
	err = waitFor(ctx, func() (bool, error) {
		f, err := TryLock(path)
		if f != nil {
			unlock = f.Close
		}
		return f != nil, err
	})
	return unlock, err
}

// waitFor tries until it is done.
func waitFor(ctx context.Context, try func() (done bool, err error)) error {
	for {
		if done, err := try(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// A Latch is the lock of a path for who takes it again and again: its file stays
// open, until the Latch is garbage. It excludes whoever calls Lock, but not two
// users of itself.
type Latch struct {
	path string
	file *os.File
	info os.FileInfo // of the file
}

// NewLatch returns the latch of a path. It touches nothing yet.
func NewLatch(path string) *Latch { return &Latch{path: path} }

// Lock is Lock of the path.
func (l *Latch) Lock(ctx context.Context) (unlock func() error, err error) {
	if err := waitFor(ctx, l.try); err != nil {
		return nil, err
	}
	return l.unlock, nil
}

func (l *Latch) try() (bool, error) {
	if l.file == nil {
		return l.open()
	}
	err := syscall.Flock(int(l.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return false, nil
	}
	if there, bad := os.Stat(l.path); err == nil && bad == nil && os.SameFile(l.info, there) {
		return true, nil
	}
	_ = l.file.Close() // a holder removed it: the lock is another file by now
	return l.open()
}

func (l *Latch) open() (locked bool, err error) {
	l.file = nil
	f, err := TryLock(l.path)
	if f == nil {
		return false, err
	}
	info, err := f.Stat()
	if err != nil {
		return false, errors.Join(err, f.Close())
	}
	l.file, l.info = f, info
	return true, nil
}

func (l *Latch) unlock() error { return syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN) }

// TryLock opens the file at path, making it when it is absent, and returns it
// locked, or nil when another has it. Closing it lets the lock go.
func TryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil && isAt(f, path) {
		return f, nil
	}
	if err == nil || errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return nil, f.Close()
	}
	return nil, errors.Join(&os.PathError{Op: "lock", Path: path, Err: err}, f.Close())
}

// isAt says whether path still names f: its last holder may have removed it
// after it was opened here.
func isAt(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(mine, there)
}
