// Package follow keeps what was read from files as new as the files are.
//
// A file that cannot be read, or that says nothing sensible, changes nothing:
// what was read before stays, and the log says why, once for each change. So
// rules and keys outlive a mistake. A list of whom to trust does not: when it is
// gone, so is the trust (Config.Trust).
package follow

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Config says what to follow.
type Config[T any] struct {
	// Read gives what the files say, and which they are, also when they say
	// nothing sensible.
	Read func() (value T, files []string, err error)
	// Trust says that the files grant something: when one of them is gone, the
	// value is what Read gives without an error, or else the zero value.
	Trust bool
	Every time.Duration    // how old an answer may be; a second when 0
	Now   func() time.Time // default: time.Now
	Log   *slog.Logger     // default: none
}

// A File is what files said when they last said something.
type File[T any] struct {
	c Config[T]

	mu     sync.Mutex
	value  T                 // guarded by mu, as all below
	seen   map[string]*stamp // of the files when they were read
	looked time.Time         // when somebody last looked whether they changed
}

// A stamp changes when a file does, however it was replaced. A file that is
// not there has none.
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
	value, err := f.read(nil)
	f.value = value
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
	now := map[string]*stamp{}
	for path := range f.seen {
		now[path] = stampOf(path)
	}
	if maps.EqualFunc(now, f.seen, equal) {
		return
	}
	value, err := f.read(now)
	gone := errors.Is(err, fs.ErrNotExist)
	for path, s := range now {
		if s == nil && err == nil && !f.c.Trust {
			err = &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
		}
	}
	if f.c.Trust && gone {
		f.c.Log.Error("a file is gone, and what it granted with it", "cause", err)
		f.value = *new(T)
		return
	}
	if err != nil {
		f.c.Log.Error("a changed file is not used; what it said before holds on", "cause", err)
		return
	}
	f.value = value
	f.c.Log.Info("a changed file is used", "files", slices.Sorted(maps.Keys(f.seen)))
}

// maxRounds bounds how often files are read that name others each time.
const maxRounds = 4

// read notes the stamps that files had before they were read, so that what is
// changed while it is read is read again. Files of which nobody knew are read
// once more, therefore.
func (f *File[T]) read(before map[string]*stamp) (value T, err error) {
	for range maxRounds {
		var files []string
		value, files, err = f.c.Read()
		f.seen = map[string]*stamp{}
		known := true
		for _, path := range files {
			s, ok := before[path]
			if !ok {
				s, known = stampOf(path), false
			}
			f.seen[path] = s
		}
		if known {
			break
		}
		before = f.seen
	}
	return value, err
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

func stampOf(path string) *stamp {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return &stamp{device: s.Dev, inode: s.Ino, size: s.Size, changed: s.Ctim}
}

func equal(a, b *stamp) bool { return a == b || a != nil && b != nil && *a == *b }
