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
	for {
		f, err := TryLock(path)
		if err != nil {
			return nil, err
		}
		if f != nil {
			return f.Close, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

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
