package ipfs

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"

	"holdfast/internal/blob"
	"holdfast/internal/oci"
)

// write does what changes the index, and does it again where the index turned
// out damaged.
func (s *Store) write(change func() error) error {
	if err := os.MkdirAll(s.config.Dir, 0o755); err != nil {
		return err
	}
	err := change()
	if damaged := (*damagedError)(nil); !errors.As(err, &damaged) {
		return err
	}
	if err := s.repair(err); err != nil {
		return err
	}
	return change()
}

// repair throws a damaged index away: everything in it follows from blobs.
func (s *Store) repair(err error) error {
	if damaged := (*damagedError)(nil); !errors.As(err, &damaged) {
		return err
	}
	s.config.Logger.Warn("the index of IPFS blocks is made anew", "cause", err)
	if err := s.index.discard(); err != nil {
		return err
	}
	s.settler.sweep()
	return nil
}

// report says who must know that a blob is not what it should be.
func (s *Store) report(d oci.Digest, err error) {
	if rotten := (*blob.MismatchError)(nil); !errors.As(err, &rotten) && !errors.Is(err, syscall.EIO) {
		return
	}
	s.config.Logger.Error("a blob rotted", "digest", d, "cause", err)
	if err := s.config.Pool.Quarantine(d); err != nil && !errors.Is(err, blob.ErrNotFound) {
		s.config.Logger.Error("a rotten blob cannot be moved away", "digest", d, "cause", err)
	}
	if s.config.Rotten != nil {
		s.config.Rotten(d)
	}
}

// verify reads d whole: the pool puts away what rotted. What did not was
// indexed wrongly.
func (s *Store) verify(ctx context.Context, d oci.Digest) error {
	r, err := s.config.Pool.Open(ctx, d)
	if errors.Is(err, blob.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	if err = errors.Join(err, r.Close()); err != nil {
		s.report(d, err)
	}
	return s.forget(d)
}

func (s *Store) forget(d oci.Digest) error {
	known, err := s.known(d)
	if err != nil || known == nil {
		return err
	}
	return s.write(func() error { return s.index.remove(d) })
}
