package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/coreos/ignition/v2/config/util"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/accounts"
)

func (s *stage) groups(_ context.Context, c types.Config) error {
	for i, g := range c.Passwd.Groups {
		if err := s.db.EnsureGroup(g); err != nil {
			return ignition.At(fmt.Errorf("group %s: %w", g.Name, err), "$.passwd.groups[%d]", i)
		}
		s.Log.Info("ensured", "group", g.Name)
	}
	return nil
}

func (s *stage) users(_ context.Context, c types.Config) error {
	for i, u := range c.Passwd.Users {
		if err := s.user(u); err != nil {
			return ignition.At(fmt.Errorf("user %s: %w", u.Name, err), "$.passwd.users[%d]", i)
		}
		s.Log.Info("ensured", "user", u.Name)
	}
	return nil
}

func (s *stage) user(c types.PasswdUser) error {
	if err := s.db.EnsureUser(c); err != nil || util.IsFalse(c.ShouldExist) {
		return err
	}
	u, err := s.db.Lookup(c.Name)
	if err != nil {
		return err
	}
	if !util.IsTrue(c.NoCreateHome) {
		if err := s.ownMountPoints(u); err != nil {
			return err
		}
	}
	if len(c.SSHAuthorizedKeys) == 0 {
		return nil
	}
	if err := s.keys(u, c.SSHAuthorizedKeys); err != nil {
		return fmt.Errorf("sshAuthorizedKeys: %w", err)
	}
	return nil
}

// ownMountPoints gives the user what the mount stage made in its home, which
// was there before the user was.
func (s *stage) ownMountPoints(u accounts.User) error {
	for _, dir := range s.State.NotatedDirectories {
		if dir != u.Home && !strings.HasPrefix(dir, u.Home+"/") {
			continue
		}
		at, err := s.dir.Resolve(dir)
		if err != nil {
			return err
		}
		if err := errors.Join(s.dir.Lchown(at, u.UID, u.GID), s.dir.Chmod(at, 0o700)); err != nil {
			return err
		}
	}
	return nil
}

// keys writes those who may log in as the user, in folders of its own.
func (s *stage) keys(u accounts.User, keys []types.SSHAuthorizedKey) error {
	file := path.Join(u.Home, ".ssh", "authorized_keys")
	if s.KeyFragments {
		file = path.Join(u.Home, ".ssh", "authorized_keys.d", "ignition")
	}
	at, err := s.dir.Resolve(file)
	if err != nil {
		return err
	}
	if err := s.mayWrite(filepath.Dir(at), u); err != nil {
		return err
	}
	own := func(at string) error { return s.dir.Lchown(at, u.UID, u.GID) }
	if err := s.dir.Folders(filepath.Dir(at), 0o700, own); err != nil {
		return err
	}
	return s.replaceKeys(at, u, lines(keys))
}

// replaceKeys leaves the file that was there, with its owner and mode, or the
// whole new one.
func (s *stage) replaceKeys(at string, u accounts.User, text string) error {
	uid, gid, mode := u.UID, u.GID, fs.FileMode(0o600)
	info, err := s.dir.Lstat(at)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("%s is %s, want a file", s.dir.Abs(at), kind(info))
	case err == nil:
		stat := info.Sys().(*syscall.Stat_t)
		uid, gid, mode = int(stat.Uid), int(stat.Gid), info.Mode().Perm()
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	f, err := s.scratch(filepath.Dir(at))
	if err != nil {
		return plain(err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(plain(err), f.Chown(uid, gid), f.Chmod(mode), f.Close()); err == nil {
		err = s.dir.Rename(f.name, at)
	}
	if err != nil {
		return errors.Join(err, s.dir.Remove(f.name))
	}
	return nil
}

// lines are the keys as upstream joins them: the last one ends in one newline.
func lines(keys []types.SSHAuthorizedKey) string {
	texts := make([]string, len(keys))
	for i, key := range keys {
		texts[i] = string(key)
	}
	return strings.TrimSuffix(strings.Join(texts, "\n"), "\n") + "\n"
}

// mayWrite refuses to make a home for a user: only what it could make itself is
// made.
func (s *stage) mayWrite(at string, u accounts.User) error {
	for {
		info, err := s.dir.Lstat(at)
		if err == nil {
			if int(info.Sys().(*syscall.Stat_t).Uid) != u.UID && u.UID != 0 && info.Mode().Perm()&0o002 == 0 {
				return fmt.Errorf("%s is not the user's, and it has no home to put them into", s.dir.Abs(at))
			}
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) || at == "." {
			return err
		}
		at = filepath.Dir(at)
	}
}
