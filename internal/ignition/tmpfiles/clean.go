package tmpfiles

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Clean removes what is older than lines with an age say: all of its times, and
// for a folder that it is empty. Other file systems below stay, and so does what
// x and X name.
func (s *Set) Clean() error {
	var errs []error
	for _, l := range s.Lines {
		if l.Age < 0 || strings.IndexByte("dDeC", l.Type) < 0 {
			continue
		}
		errs = append(errs, s.each(l.Path, func(at string) error {
			info, err := s.dir.Lstat(at)
			if err != nil || !info.IsDir() {
				return ignoreMissing(err)
			}
			_, err = s.clean(at, s.Now().Add(-l.Age), l.KeepFirst, device(info))
			return err
		}))
	}
	return errors.Join(errs...)
}

func device(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Dev
	}
	return 0
}

// clean empties a folder and says whether nothing is left in it.
func (s *Set) clean(dir string, before time.Time, keep bool, dev uint64) (empty bool, err error) {
	entries, err := fs.ReadDir(s.dir.FS(), dir)
	if err != nil {
		return false, ignoreMissing(err)
	}
	empty = true
	var errs []error
	for _, e := range entries {
		at := path.Join(dir, e.Name())
		gone, err := s.cleanOne(at, before, keep, dev)
		empty = empty && gone
		errs = append(errs, err)
	}
	return empty, errors.Join(errs...)
}

func (s *Set) cleanOne(at string, before time.Time, keep bool, dev uint64) (gone bool, err error) {
	info, err := s.dir.Lstat(at)
	if err != nil {
		return true, ignoreMissing(err)
	}
	whole, alone := s.excluded(at)
	if whole || device(info) != dev || s.separate(at) {
		return false, nil
	}
	// The times of a folder are those of before it is looked into and emptied.
	aged := old(info, before)
	if info.IsDir() {
		empty, err := s.clean(at, before, false, dev)
		if err != nil || !empty {
			return false, err
		}
	}
	if alone || keep || !aged || info.Mode()&fs.ModeSticky != 0 && !info.IsDir() {
		return false, nil
	}
	return true, ignoreMissing(s.dir.Remove(at))
}

// excluded says whether x, or X, names a path.
func (s *Set) excluded(at string) (whole, alone bool) {
	for _, l := range s.Lines {
		if l.Type != 'x' && l.Type != 'X' {
			continue
		}
		if ok, err := path.Match(l.Path, s.dir.Abs(at)); err == nil && ok {
			whole, alone = whole || l.Type == 'x', alone || l.Type == 'X'
		}
	}
	return whole, alone
}

// separate says whether a line of its own cares for a path.
func (s *Set) separate(at string) bool {
	for _, l := range s.Lines {
		if strings.IndexByte("dDfFLCp", l.Type) >= 0 && l.Path == s.dir.Abs(at) {
			return true
		}
	}
	return false
}

// old wants access, modification and change before a time; looking into a folder
// is no access that counts.
func old(info fs.FileInfo, before time.Time) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	times := []unix.Timespec{unix.Timespec(st.Mtim)}
	if !info.IsDir() {
		times = append(times, unix.Timespec(st.Atim), unix.Timespec(st.Ctim))
	}
	for _, t := range times {
		if !time.Unix(t.Unix()).Before(before) {
			return false
		}
	}
	return true
}
