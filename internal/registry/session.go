package registry

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"

	"holdfast/internal/oci"
)

func newHash(algorithm string) hash.Hash {
	if algorithm == "sha512" {
		return sha512.New()
	}
	return sha256.New()
}

// digest is what came, by the algorithm; it reads the file again if it was
// hashed by another or before a restart.
func (s *upload) digest(algorithm string) (oci.Digest, error) {
	if err := s.rehash(algorithm); err != nil {
		return "", err
	}
	return oci.Digest(algorithm + ":" + hex.EncodeToString(s.hash.Sum(nil))), nil
}

func (s *upload) rehash(algorithm string) error {
	h := newHash(algorithm)
	if s.hash != nil && s.hash.Size() == h.Size() {
		return nil
	}
	s.hash = h
	if s.size == 0 {
		return nil
	}
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.Copy(h, f)
	if err == nil && n != s.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		s.hash = nil
	}
	return err
}

var chunks = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// errBrokeOff says that the client did not send all that it meant to.
var errBrokeOff = errors.New("the body broke off")

// append writes what src holds after what came before. When writing fails,
// what was written in full stays.
func (s *upload) append(src io.Reader, limit int64) error {
	f, err := os.OpenFile(s.path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := toEnd(f, s.size); err != nil {
		return err
	}
	buf := chunks.Get().(*[]byte)
	defer chunks.Put(buf)
	for {
		n, err := src.Read(*buf)
		if s.size+int64(n) > limit {
			return tooLarge("blob", limit)
		}
		if n > 0 {
			if _, err := f.Write((*buf)[:n]); err != nil {
				return err
			}
			s.hash.Write((*buf)[:n])
			s.size += int64(n)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errBrokeOff, err)
		}
	}
}

// toEnd goes to the end of what is known to be there. More may be, of a write
// that failed halfway.
func toEnd(f *os.File, size int64) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || end == size {
		return err
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	_, err = f.Seek(size, io.SeekStart)
	return err
}
