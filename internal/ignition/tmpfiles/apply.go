package tmpfiles

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Apply removes and then makes what the lines say; boot says that the machine
// starts, when alone lines with ! count. It goes on behind a line that fails, and
// joins the errors.
func (s *Set) Apply(boot bool) error {
	s.ids = s.readIDs()
	var errs []error
	for _, step := range []func(Line) error{s.remove, s.make} {
		for _, l := range s.Lines {
			if l.Boot && !boot {
				continue
			}
			if err := step(l); err != nil {
				err = fmt.Errorf("%s:%d: %w", l.File, l.Number, err)
				if l.Optional {
					s.Log.Warn("left out", "error", err)
					continue
				}
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// remove is the first half: r, R, and what is in a folder of D.
func (s *Set) remove(l Line) error {
	switch l.Type {
	case 'r', 'R':
		return s.each(l.Path, func(at string) error {
			if l.Type == 'R' {
				return s.dir.RemoveAll(at)
			}
			err := s.dir.Remove(at)
			if errors.Is(err, syscall.ENOTEMPTY) {
				return nil // as systemd-tmpfiles: a folder goes when it is empty
			}
			return err
		})
	case 'D':
		at, err := s.dir.Resolve(l.Path)
		if err != nil {
			return err
		}
		entries, err := fs.ReadDir(s.dir.FS(), at)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		for _, e := range entries {
			err = errors.Join(err, s.dir.RemoveAll(path.Join(at, e.Name())))
		}
		return err
	}
	return nil
}

// each calls f with what a pattern matches, resolved.
func (s *Set) each(pattern string, f func(at string) error) error {
	dir, name := path.Split(pattern)
	if !strings.ContainsAny(dir, "*?[\\") {
		at, err := s.dir.Follow(dir)
		if err != nil {
			return err
		}
		return s.matches(at, name, f)
	}
	var errs []error
	err := s.each(path.Clean(dir), func(at string) error {
		if at, err := s.dir.Follow(s.dir.Abs(at)); err == nil {
			errs = append(errs, s.matches(at, name, f))
		}
		return nil
	})
	return errors.Join(append(errs, err)...)
}

func (s *Set) matches(dir, pattern string, f func(at string) error) error {
	entries, err := fs.ReadDir(s.dir.FS(), dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	var errs []error
	for _, e := range entries {
		if ok, bad := path.Match(pattern, e.Name()); bad == nil && ok {
			errs = append(errs, f(path.Join(dir, e.Name())))
		}
	}
	return errors.Join(append(errs, err)...)
}

// make is the second half.
func (s *Set) make(l Line) error {
	switch l.Type {
	case 'w', 'z', 'Z', 'e':
		return s.each(l.Path, func(at string) error { return s.existing(l, at) })
	case 'r', 'R', 'x', 'X':
		return nil
	}
	at, err := s.dir.Resolve(l.Path)
	if err != nil {
		return err
	}
	if err := s.dir.Parents(at); err != nil {
		return err
	}
	if l.Force {
		if err := s.clear(l, at); err != nil {
			return err
		}
	}
	switch l.Type {
	case 'd', 'D':
		return s.folder(l, at)
	case 'f', 'F':
		return s.file(l, at)
	case 'L':
		return s.link(l, at)
	case 'C':
		return s.copy(l, at)
	}
	return s.pipe(l, at)
}

// clear removes what is of another kind than the line makes.
func (s *Set) clear(l Line, at string) error {
	info, err := s.dir.Lstat(at)
	if err != nil {
		return ignoreMissing(err)
	}
	want := map[byte]fs.FileMode{'d': fs.ModeDir, 'D': fs.ModeDir, 'L': fs.ModeSymlink, 'p': fs.ModeNamedPipe}[l.Type]
	if l.Type == 'C' || info.Mode().Type() == want {
		return nil
	}
	return s.dir.RemoveAll(at)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (s *Set) folder(l Line, at string) error {
	err := s.dir.Mkdir(at, 0o755)
	made := err == nil
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := s.dir.Lstat(at)
	if err == nil && !info.IsDir() {
		return fmt.Errorf("%s is there and no folder", l.Path)
	}
	return errors.Join(err, s.settle(l, at, made, 0o755))
}

func (s *Set) file(l Line, at string) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL | unix.O_NOFOLLOW
	f, err := s.dir.OpenFile(at, flags, 0o644)
	made := err == nil
	if errors.Is(err, fs.ErrExist) {
		info, err := s.dir.Lstat(at)
		switch {
		case err != nil:
			return err
		case !info.Mode().IsRegular():
			return fmt.Errorf("%s is there and no file", l.Path)
		case l.Type == 'f':
			return s.settle(l, at, false, 0o644)
		}
		if f, err = s.dir.OpenFile(at, os.O_WRONLY|os.O_TRUNC|unix.O_NOFOLLOW, 0); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	_, err = io.WriteString(f, l.Argument)
	return errors.Join(err, f.Close(), s.settle(l, at, made, 0o644))
}

func (s *Set) link(l Line, at string) error {
	target, err := s.dir.Readlink(at)
	switch {
	case err == nil && target == l.Argument:
		return nil
	case errors.Is(err, fs.ErrNotExist):
	case !l.Replace:
		return nil // what is there stays
	default:
		if err := s.dir.RemoveAll(at); err != nil {
			return err
		}
	}
	if err := s.dir.Symlink(l.Argument, at); err != nil {
		return err
	}
	return s.own(l, at, true)
}

func (s *Set) pipe(l Line, at string) error {
	info, err := s.dir.Lstat(at)
	switch {
	case err == nil && info.Mode().Type() == fs.ModeNamedPipe:
		return s.settle(l, at, false, 0o644)
	case err == nil && !l.Replace:
		return nil
	case err == nil:
		if err := s.dir.RemoveAll(at); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent, err := s.dir.Open(path.Dir(at))
	if err != nil {
		return err
	}
	err = unix.Mkfifoat(int(parent.Fd()), path.Base(at), 0o644)
	return errors.Join(err, parent.Close(), s.settle(l, at, true, 0o644))
}

// existing writes to what is there, or sets its mode and owner.
func (s *Set) existing(l Line, at string) error {
	info, err := s.dir.Lstat(at)
	if err != nil || info.Mode()&fs.ModeSymlink != 0 && l.Type != 'w' {
		return ignoreMissing(err)
	}
	switch l.Type {
	case 'e':
		if !info.IsDir() {
			return nil
		}
	case 'w':
		return s.write(l, at)
	case 'Z':
		return fs.WalkDir(s.dir.FS(), at, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.Type()&fs.ModeSymlink != 0 {
				return err
			}
			return s.settle(l, p, false, 0)
		})
	}
	return s.settle(l, at, false, 0)
}

func (s *Set) write(l Line, at string) error {
	at, err := s.dir.Follow(s.dir.Abs(at))
	if err != nil {
		return err
	}
	flags := os.O_WRONLY | unix.O_NOCTTY | unix.O_NONBLOCK
	if l.Replace {
		flags |= os.O_APPEND
	}
	f, err := s.dir.OpenFile(at, flags, 0)
	if err != nil {
		return ignoreMissing(err)
	}
	_, err = io.WriteString(f, l.Argument)
	return errors.Join(err, f.Close())
}

// settle sets mode and owner as a line says.
func (s *Set) settle(l Line, at string, made bool, otherwise fs.FileMode) error {
	if err := s.own(l, at, made); err != nil {
		return err
	}
	mode := l.Mode
	switch {
	case mode < 0 && made:
		mode = int(otherwise)
	case mode < 0, l.ModeOnce && !made:
		return nil
	}
	info, err := s.dir.Lstat(at)
	if err != nil {
		return err
	}
	if l.Masked {
		mode = mask(mode, info)
	}
	return s.dir.Chmod(at, fileMode(mode))
}

// mask takes from a mode what the file there does not have: execution, unless
// something is executable, and so on (tmpfiles.d(5), Mode).
func mask(mode int, info fs.FileInfo) int {
	now := int(info.Mode().Perm())
	for _, bits := range []int{0o111, 0o222, 0o444} {
		if now&bits == 0 {
			mode &^= bits
		}
	}
	if !info.IsDir() {
		mode &^= 0o7000
	}
	return mode
}

func fileMode(mode int) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	for bit, flag := range map[int]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if mode&bit != 0 {
			m |= flag
		}
	}
	return m
}

func (s *Set) own(l Line, at string, made bool) error {
	uid, gid := -1, -1
	if l.User != "" && (made || !l.UserOnce) {
		id, err := s.ids.user(l.User)
		if err != nil {
			return err
		}
		uid = id
	}
	if l.Group != "" && (made || !l.GroupOnce) {
		id, err := s.ids.group(l.Group)
		if err != nil {
			return err
		}
		gid = id
	}
	if uid < 0 && gid < 0 {
		return nil
	}
	return s.dir.Lchown(at, uid, gid)
}

// copy copies what is not there, or an empty folder that is.
func (s *Set) copy(l Line, at string) error {
	from, err := s.dir.Resolve(l.Argument)
	if err != nil {
		return err
	}
	if _, err := s.dir.Lstat(from); err != nil {
		return err
	}
	entries, err := fs.ReadDir(s.dir.FS(), at)
	if err == nil && len(entries) > 0 {
		return s.settle(l, at, false, 0)
	}
	if _, there := s.dir.Lstat(at); there == nil && err != nil {
		return s.settle(l, at, false, 0) // a file is there
	}
	err = fs.WalkDir(s.dir.FS(), from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		return s.copyOne(p, path.Join(at, rel), d)
	})
	return errors.Join(err, s.settle(l, at, false, 0))
}

func (s *Set) copyOne(from, to string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	switch {
	case d.IsDir():
		if err := s.dir.Mkdir(to, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	case d.Type()&fs.ModeSymlink != 0:
		target, err := s.dir.Readlink(from)
		if err != nil {
			return err
		}
		return s.dir.Symlink(target, to)
	case !d.Type().IsRegular():
		return nil
	default:
		if err := s.copyFile(from, to); err != nil {
			return err
		}
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		if err := s.dir.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	return s.dir.Chmod(to, info.Mode()&(fs.ModePerm|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky))
}

func (s *Set) copyFile(from, to string) error {
	in, err := s.dir.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := s.dir.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
