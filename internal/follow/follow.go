// Package follow keeps what was read from files as new as the files are.
//
// A file that cannot be read, or that says nothing sensible, changes nothing:
// what was read before stays, and the log says why, once for each change.
package follow

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Config says what to follow.
type Config[T any] struct {
	Paths []string                    // all are read when one has changed
	Read  func(p []string) (T, error) // reads them
	Every time.Duration               // how old an answer may be; a second when 0
	Now   func() time.Time            // default: time.Now
	Log   *slog.Logger                // default: none
}

// A File is what the files said when they last said something.
type File[T any] struct {
	c Config[T]

	mu     sync.Mutex
	value  T         // guarded by mu, as all below
	seen   []stamp   // of the files when they were read
	looked time.Time // when somebody last looked whether they changed
}

// A stamp changes when a file does, however it was replaced.
type stamp struct {
	device, inode uint64
	size          int64
	changed       syscall.Timespec
}

// Open reads the files for the first time.
func Open[T any](c Config[T]) (*File[T], error) {
	if c.Every <= 0 {
		c.Every = time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	f := &File[T]{c: c, looked: c.Now()}
	f.seen, _ = stamps(c.Paths)
	var err error
	f.value, err = c.Read(c.Paths)
	return f, err
}

// Get is what the files say, no older than Config.Every.
func (f *File[T]) Get() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.c.Now(); now.Sub(f.looked) >= f.c.Every {
		f.looked = now
		f.look()
	}
	return f.value
}

// look reads the files again if one has changed. The caller holds mu.
func (f *File[T]) look() {
	now, err := stamps(f.c.Paths)
	if slices.Equal(now, f.seen) {
		return
	}
	f.seen = now
	var value T
	if err == nil {
		value, err = f.c.Read(f.c.Paths)
	}
	if err != nil {
		f.c.Log.Error("a changed file is not used; what it said before holds on", "cause", err)
		return
	}
	f.value = value
	f.c.Log.Info("a changed file is used", "file", f.c.Paths[0])
}

// Watch looks at the files until ctx ends, so that the log tells of a bad
// one when it is written, and not when it is next needed.
func (f *File[T]) Watch(ctx context.Context) {
	tick := time.NewTicker(f.c.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.Get()
		}
	}
}

// stamps are nil for files that are not there.
func stamps(paths []string) ([]stamp, error) {
	list := make([]stamp, len(paths))
	var problems []error
	for i, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		list[i], err = stampOf(info)
		problems = append(problems, err)
	}
	return list, errors.Join(problems...)
}

func stampOf(info fs.FileInfo) (stamp, error) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return stamp{}, fmt.Errorf("%s: its state is not to be had here", info.Name())
	}
	return stamp{device: s.Dev, inode: s.Ino, size: s.Size, changed: s.Ctim}, nil
}
