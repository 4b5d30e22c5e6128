package accounts

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"syscall"
)

// makeHome makes a home with a copy of the skeleton; one that is there stays as
// it is.
func (d *Database) makeHome(u User) error {
	at, err := d.Dir.Follow(u.Home)
	if err != nil {
		return err
	}
	if _, err := d.Dir.Lstat(at); err == nil {
		return nil
	}
	if err := d.Dir.Folders(at, 0o755, nil); err != nil {
		return err
	}
	skel, err := d.Dir.Follow(d.defs.get("SKEL"))
	if err != nil {
		return err
	}
	if err := d.copyTree(skel, at, u); err != nil {
		return err
	}
	return errors.Join(d.Dir.Lchown(at, u.UID, u.GID), d.Dir.Chmod(at, d.homeMode()))
}

func (d *Database) homeMode() os.FileMode {
	if text, ok := d.defs["HOME_MODE"]; ok {
		if mode, err := strconv.ParseUint(text, 8, 12); err == nil {
			return os.FileMode(mode)
		}
	}
	umask, err := strconv.ParseUint(d.defs.get("UMASK"), 8, 12)
	if err != nil {
		umask = 0o22
	}
	return 0o777 &^ os.FileMode(umask)
}

func (d *Database) copyTree(from, to string, u User) error {
	err := fs.WalkDir(d.Dir.FS(), from, func(at string, e fs.DirEntry, err error) error {
		if err != nil || at == from {
			return err
		}
		rest, err := filepath.Rel(from, at)
		if err != nil {
			return err
		}
		return d.copyNode(at, filepath.Join(to, rest), e, u)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no skeleton
	}
	return err
}

func (d *Database) copyNode(from, to string, e fs.DirEntry, u User) error {
	info, err := e.Info()
	if err != nil {
		return err
	}
	switch {
	case e.IsDir():
		err = d.Dir.Mkdir(to, 0o700)
	case e.Type()&fs.ModeSymlink != 0:
		var target string
		if target, err = d.Dir.Readlink(from); err == nil {
			err = d.Dir.Symlink(target, to)
		}
	case e.Type().IsRegular():
		err = d.copyFile(from, to)
	default:
		return nil
	}
	if err == nil {
		err = d.Dir.Lchown(to, u.UID, u.GID)
	}
	if err != nil || e.Type()&fs.ModeSymlink != 0 {
		return err
	}
	if err := d.Dir.Chmod(to, info.Mode()&(fs.ModePerm|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky)); err != nil {
		return err
	}
	return d.Dir.Chtimes(to, info.ModTime(), info.ModTime())
}

func (d *Database) copyFile(from, to string) error {
	in, err := d.Dir.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := d.Dir.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

func (d *Database) mailbox(user string) string { return path.Join(d.defs.get("MAIL_DIR"), user) }

// newMailbox is that of a user who will be given one that is not there, empty
// where makeMailbox makes none.
func (d *Database) newMailbox(user string) string {
	if d.defs.get("CREATE_MAIL_SPOOL") != "yes" {
		return ""
	}
	box := d.mailbox(user)
	at, err := d.Dir.Resolve(box)
	if err == nil {
		_, err = d.Dir.Lstat(at)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return box
}

// makeMailbox makes one where the installation says so.
func (d *Database) makeMailbox(u User) error {
	if d.defs.get("CREATE_MAIL_SPOOL") != "yes" {
		return nil
	}
	at, err := d.Dir.Resolve(d.mailbox(u.Name))
	if err != nil {
		return err
	}
	f, err := d.Dir.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil // no spool, or a box that is there
	}
	gid, mode := u.GID, os.FileMode(0o600)
	if mail, err := d.GroupID("mail"); err == nil {
		gid, mode = mail, 0o660
	}
	return errors.Join(f.Chown(u.UID, gid), f.Chmod(mode), f.Close())
}

// moveHome takes along what is there; a new one that is there stays.
func (d *Database) moveHome(from, to string) error {
	old, err := d.Dir.Resolve(from)
	if err != nil {
		return err
	}
	info, err := d.Dir.Lstat(old)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && !info.IsDir()) {
		return nil
	}
	if err != nil {
		return err
	}
	at, err := d.Dir.Resolve(to)
	if err != nil {
		return err
	}
	if _, err := d.Dir.Lstat(at); err == nil {
		return errors.New(to + " is there already")
	}
	if err := d.Dir.Parents(at); err != nil {
		return err
	}
	return d.Dir.Rename(old, at)
}

// chown gives what is in a home to the user's new ids, if it was of the old.
func (d *Database) chown(is, was User) error {
	home, err := d.Dir.Follow(is.Home)
	if err != nil {
		return err
	}
	err = fs.WalkDir(d.Dir.FS(), home, func(at string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Dir.Lstat(at)
		if err != nil {
			return err
		}
		stat, uid, gid := info.Sys().(*syscall.Stat_t), -1, -1
		if int(stat.Uid) == was.UID {
			uid = is.UID
		}
		if int(stat.Gid) == was.GID {
			gid = is.GID
		}
		return d.Dir.Lchown(at, uid, gid)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// owns says whether a path is there and the user's.
func (d *Database) owns(p string, uid int) bool {
	at, err := d.Dir.Resolve(p)
	if err != nil || at == "." {
		return false
	}
	info, err := d.Dir.Lstat(at)
	return err == nil && int(info.Sys().(*syscall.Stat_t).Uid) == uid
}
