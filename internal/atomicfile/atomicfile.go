// Package atomicfile writes files that are whole or absent.
//
// A reader never sees half a file: bytes go to a file without a name in the
// same folder, are synced, and take their name only when complete. Whoever is
// killed on the way leaves nothing behind, where the file system can hold a
// file without a name (O_TMPFILE; ext4, xfs, btrfs and tmpfs can).
package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
	"unsafe"
)

// WriteFile replaces path with data, as one step.
func WriteFile(path string, data []byte, perm os.FileMode) error {
	return Write(path, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// Write replaces path with whatever fill writes, as one step. When fill
// fails, path is left as it was.
func Write(path string, perm os.FileMode, fill func(io.Writer) error) error {
	f, err := Create(path, perm)
	if err != nil {
		return err
	}
	defer f.Discard()
	if err := fill(f); err != nil {
		return err
	}
	return f.Commit()
}

// A File is being written and has no name yet. It can be written and seeked
// like any other, and its errors name the path that it shall have; Commit
// gives it its name, Discard forgets it.
type File struct {
	*os.File
	path string
	temp string // its name meanwhile, where it has to have one
	done bool
}

// Create starts a file that Commit will call path. The permission bits are
// set exactly, whatever the umask.
func Create(path string, perm os.FileMode) (*File, error) {
	f, err := create(path)
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(perm); err != nil {
		f.Discard()
		return nil, err
	}
	return f, nil
}

// tmpFile is O_TMPFILE of open(2), which package syscall does not have.
const tmpFile = 0o20000000 | syscall.O_DIRECTORY

func create(path string) (*File, error) {
	dir := filepath.Dir(path)
	fd, err := syscall.Open(dir, tmpFile|syscall.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err == nil {
		return &File{File: os.NewFile(uintptr(fd), path), path: path}, nil
	}
	if !errors.Is(err, syscall.EOPNOTSUPP) && !errors.Is(err, syscall.EISDIR) {
		return nil, &fs.PathError{Op: "create", Path: path, Err: err}
	}
	temp, err := os.CreateTemp(dir, prefix+"*")
	if err != nil {
		return nil, err
	}
	return &File{File: temp, path: path, temp: temp.Name()}, nil
}

// prefix begins the names of files that have not got theirs yet.
const prefix = ".tmp-"

// Commit syncs the file and gives it its name.
func (f *File) Commit() error {
	if f.done {
		return fmt.Errorf("%s: already closed", f.path)
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.CommitUnsynced(); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(f.path))
}

// CommitUnsynced gives the file its name. What a power cut then leaves of it is
// anybody's guess: it is for files that are checked when read, and for folders
// that are synced as a whole.
func (f *File) CommitUnsynced() error {
	if f.done {
		return fmt.Errorf("%s: already closed", f.path)
	}
	if err := f.name(); err != nil {
		return err
	}
	f.done = true
	return f.Close()
}

// name gives the file its name. An older file is replaced by rename, for
// which this one must have another name for a moment.
func (f *File) name() error {
	if f.temp != "" {
		return os.Rename(f.temp, f.path)
	}
	err := f.link(f.path)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	sweep(f.path)
	temp := named(f.path, rand.Text())
	if err := f.link(temp); err != nil {
		return err
	}
	err = os.Rename(temp, f.path)
	if err != nil {
		_ = os.Remove(temp)
	}
	return err
}

// named is what a file that will be path is called meanwhile.
func named(path, suffix string) string {
	return filepath.Join(filepath.Dir(path), prefix+filepath.Base(path)+"-"+suffix)
}

// moment is far longer than a file ever has its other name.
const moment = time.Minute

// sweep removes what a writer of path left that was killed in just that moment.
func sweep(path string) {
	left, _ := filepath.Glob(named(path, "*"))
	for _, name := range left {
		if info, err := os.Lstat(name); err == nil && time.Since(info.ModTime()) > moment {
			_ = os.Remove(name)
		}
	}
}

// link is linkat(2) of an open file, as its page says how.
func (f *File) link(path string) error {
	from, err := syscall.BytePtrFromString(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return err
	}
	to, err := syscall.BytePtrFromString(path)
	if err != nil {
		return err
	}
	const followSymlink, here = 0x400, -100 // AT_SYMLINK_FOLLOW, AT_FDCWD
	cwd := here
	_, _, errno := syscall.Syscall6(syscall.SYS_LINKAT, uintptr(cwd), uintptr(unsafe.Pointer(from)),
		uintptr(cwd), uintptr(unsafe.Pointer(to)), followSymlink, 0)
	if errno != 0 {
		return &fs.PathError{Op: "link", Path: path, Err: errno}
	}
	return nil
}

// Discard removes the file unless it was committed. It may be called twice.
func (f *File) Discard() {
	if f.done {
		return
	}
	f.done = true
	_ = f.Close()
	if f.temp != "" {
		_ = os.Remove(f.temp)
	}
}

// SyncDir makes the names in a folder outlive a crash.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
