package ipfs

import (
	"errors"
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
