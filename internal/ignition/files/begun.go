package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
)

// begunPath is there while the stage runs, so that the next run knows whether
// one was cut off: what that left of a file is not taken for somebody's own.
const begunPath = "/etc/.ignition-begun"

// begin is on the disk before anything that the stage writes.
func (s *stage) begin() error {
	at, err := s.dir.Resolve(begunPath)
	if err != nil {
		return err
	}
	if _, err := s.dir.Lstat(at); err == nil {
		s.cut = true
		s.Log.Warn("a run before this one was cut off: what it left of files is made anew")
		return nil
	}
	if _, err := s.dir.Lstat(filepath.Dir(at)); errors.Is(err, fs.ErrNotExist) {
		s.bare = true
	}
	if err := s.dir.Parents(at); err != nil {
		return err
	}
	f, err := s.dir.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("%s: %w", begunPath, errors.Unwrap(err))
	}
	return errors.Join(f.Sync(), f.Close())
}

// end is for whatever way the stage ended by itself.
func (s *stage) end() error {
	at, err := s.dir.Resolve(begunPath)
	if err == nil {
		err = s.dir.Remove(at)
	}
	if err == nil && s.bare {
		_ = s.dir.Remove(filepath.Dir(at)) // refused when the stage put something there
	}
	return err
}

// halves are names of scratch files.
var halves = regexp.MustCompile(`^` + regexp.QuoteMeta(scratchPrefix) + `[A-Z2-7]{26}$`)

// sweep removes the scratch files that a run which was cut off left in a folder.
func (s *stage) sweep(dir string) error {
	list, err := fs.ReadDir(s.dir.FS(), dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.Type().IsRegular() && halves.MatchString(e.Name()) {
			err = errors.Join(err, s.dir.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}
