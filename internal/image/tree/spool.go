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
	end int64 // guarded by mu, held while a file is written
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

// Add appends what r holds.
func (s *Spool) Add(r io.Reader) (Content, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := io.Copy(io.NewOffsetWriter(s.file, s.end), r)
	c := Content{At: s.file, Offset: s.end, Size: n}
	s.end += n
	return c, err
}

// Close frees the bytes. Content that came from the spool cannot be read any more.
func (s *Spool) Close() error { return s.file.Close() }
