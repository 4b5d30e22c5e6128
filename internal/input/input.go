// Package input reads files that others wrote: whole, never more than they
// may be, and never for ever.
package input

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Limits for what is read whole into memory.
const (
	Key      = 1 << 20  // PEM files, which hold a few keys or certificates
	Secret   = 2 << 20  // what a broker keeps under one name
	Document = 16 << 20 // recipes, locks, descriptions, policies
	Firmware = 64 << 20
)

// ErrTooLarge is matched when a file has more than its limit.
var ErrTooLarge = errors.New("too large")

// ErrCut is matched when a file ends before it is whole.
var ErrCut = errors.New("it is cut off: the end is missing")

// ReadFile reads a file of at most limit bytes. A pipe is read to its end, as
// a shell's <(…) makes one; but one that nobody writes to is empty, where
// os.ReadFile would wait.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("is a folder, want a file")}
	}
	b, err := ReadAll(f, limit)
	if err != nil && !errors.As(err, new(*fs.PathError)) {
		err = &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return b, err
}

// ReadAll reads r to its end, at most limit bytes.
func ReadAll(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	return b, err
}

// Open opens a regular file to be read as a stream: a folder, a pipe or a
// device is refused.
func Open(path string) (*os.File, error) {
	return open(path, "want an ordinary file", func(m fs.FileMode) bool { return m.IsRegular() })
}

// OpenStream is Open that takes a pipe as well, which is empty when nobody
// writes to it.
func OpenStream(path string) (*os.File, error) {
	return open(path, "want a file or a pipe", func(m fs.FileMode) bool { return m.IsRegular() || m&fs.ModeNamedPipe != 0 })
}

func open(path, want string, fits func(fs.FileMode) bool) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !fits(info.Mode()) {
		err = &fs.PathError{Op: "read", Path: path, Err: errors.New(want)}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Cut says in words what io.EOF means to the reader of a file that has more.
func Cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrCut
	}
	return err
}

// ErrHungUp is matched when the other side ended a connection too soon.
var ErrHungUp = errors.New("the other side hung up")

// HungUp says in words what io.EOF means on a connection.
func HungUp(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrHungUp
	}
	return err
}
