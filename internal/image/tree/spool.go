package tree

import (
	"errors"
	"io"
	"os"
	"sync"
)

// A Spool keeps the bytes of many files in one temporary file that has no
// name, so that nothing is left behind however the process ends.
type Spool struct {
	file *os.File

	mu  sync.Mutex
	end int64 // guarded by mu
}

// NewSpool makes a spool in dir; "" is the system's folder for temporary files.
func NewSpool(dir string) (*Spool, error) {
	f, err := os.CreateTemp(dir, "holdfast-spool-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Spool{file: f}, nil
}

// Add keeps what r holds, which must be size bytes. Several may be added at once.
func (s *Spool) Add(r io.Reader, size int64) (Content, error) {
	c := Content{At: s.file, Offset: s.reserve(size), Size: size}
	n, err := io.Copy(io.NewOffsetWriter(s.file, c.Offset), io.LimitReader(r, size))
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	return c, err
}

func (s *Spool) reserve(size int64) (offset int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	offset = s.end
	s.end += size
	return offset
}

// Close frees the bytes. Content that came from the spool cannot be read any more.
func (s *Spool) Close() error { return s.file.Close() }
