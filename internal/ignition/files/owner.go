package files

import (
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/coreos/ignition/v2/config/util"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
)

// permissions sets the owner, then the mode: a change of the owner clears the
// bits that lend rights (chown(2)).
func (s *stage) permissions(at string, mode *int, n types.Node) error {
	uid, gid := s.owner(at)
	uid, err := s.id(uid, n.User.ID, n.User.Name, s.db.UserID)
	if err != nil {
		return err
	}
	gid, err = s.id(gid, n.Group.ID, n.Group.Name, s.db.GroupID)
	if err != nil {
		return err
	}
	if err := s.dir.Lchown(at, uid, gid); err != nil {
		return err
	}
	if mode != nil {
		return s.dir.Chmod(at, fileMode(*mode))
	}
	return nil
}

func (s *stage) id(now int, id *int, name *string, find func(string) (int, error)) (int, error) {
	switch {
	case id != nil:
		return *id, nil
	case util.NotEmpty(name):
		return find(*name)
	}
	return now, nil
}

// owner is who has what is at a path. A link goes to the owner of what it leads
// to, as upstream has it; an absolute one is upstream's initramfs's, where root
// has everything.
func (s *stage) owner(at string) (uid, gid int) {
	for range 40 {
		info, err := s.dir.Lstat(at)
		if err != nil {
			return 0, 0
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			stat := info.Sys().(*syscall.Stat_t)
			return int(stat.Uid), int(stat.Gid)
		}
		target, err := s.dir.Readlink(at)
		if err != nil || filepath.IsAbs(target) {
			return 0, 0
		}
		if at, err = s.dir.Resolve(filepath.Join("/", filepath.Dir(at), target)); err != nil {
			return 0, 0
		}
	}
	return 0, 0
}

// fileMode is a config's POSIX mode.
func fileMode(m int) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	for bit, is := range map[int]fs.FileMode{syscall.S_ISUID: fs.ModeSetuid, syscall.S_ISGID: fs.ModeSetgid, syscall.S_ISVTX: fs.ModeSticky} {
		if m&bit != 0 {
			mode |= is
		}
	}
	return mode
}
