package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/coreos/ignition/v2/config/util"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
)

// link makes a symbolic or a hard one. One that is there already and right is
// left as it is.
func (s *stage) link(at string, l types.Link) error {
	info, err := s.dir.Lstat(at)
	switch {
	case err == nil:
		return s.sameLink(at, info, l)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := s.dir.Parents(at); err != nil {
		return err
	}
	if util.IsTrue(l.Hard) {
		target, err := s.dir.Resolve(*l.Target)
		if err != nil {
			return err
		}
		return s.dir.Link(target, at)
	}
	if err := s.dir.Symlink(*l.Target, at); err != nil {
		return err
	}
	return s.permissions(at, nil, l.Node)
}

func (s *stage) sameLink(at string, info fs.FileInfo, l types.Link) error {
	if util.IsTrue(l.Hard) {
		target, err := s.dir.Resolve(*l.Target)
		if err != nil {
			return err
		}
		other, err := s.dir.Lstat(target)
		if err != nil {
			return fmt.Errorf("target: %w", err)
		}
		if !os.SameFile(info, other) {
			return fmt.Errorf("another file %w", errExists)
		}
		return nil
	}
	if info.Mode()&fs.ModeSymlink == 0 {
		return fmt.Errorf("%v %w", kind(info), errExists)
	}
	target, err := s.dir.Readlink(at)
	if err != nil {
		return err
	}
	if filepath.Clean(target) != filepath.Clean(*l.Target) {
		return fmt.Errorf("a link to %s %w", target, errExists)
	}
	return nil
}
