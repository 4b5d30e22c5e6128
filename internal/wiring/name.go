package wiring

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"holdfast/internal/atomicfile"
)

var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// CheckName refuses names that would not do as a host name, a folder and a
// repository.
func CheckName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("name %q: want 1 to 32 of a-z, 0-9 and inner hyphens", name)
	}
	return nil
}

// ErrBusy says that another process holds a lock.
var ErrBusy = errors.New("another process has it")

// tryLock takes a lock now or says that it is taken.
func tryLock(path string) (unlock func() error, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	unlock, err = atomicfile.Lock(ctx, path)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, ErrBusy
	}
	return unlock, err
}
