// Package atomicfile writes files that are whole or absent.
//
// A reader never sees half a file: bytes go to a temporary file in the same
// folder, are synced, and take their name by rename only when complete.
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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
	if err = fill(f); err == nil {
		err = f.Commit()
	}
	var p *fs.PathError
	if errors.As(err, &p) && p.Path == f.Name() {
		p.Path = path // which a person knows, unlike the temporary name
	}
	return err
}

// A File is being written and has no name yet. It can be written and seeked
// like any other; Commit gives it its name, Discard forgets it.
type File struct {
	*os.File
	path string
	done bool
}

// Create starts a file that Commit will call path. The permission bits are
// set exactly, whatever the umask.
func Create(path string, perm os.FileMode) (*File, error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(perm); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return &File{File: f, path: path}, nil
}

// Commit syncs the file and gives it its name.
func (f *File) Commit() error {
	if f.done {
		return fmt.Errorf("%s: already closed", f.path)
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), f.path); err != nil {
		return err
	}
	f.done = true
	return errors.Join(f.Close(), SyncDir(filepath.Dir(f.path)))
}

// Discard removes the file unless it was committed. It may be called twice.
func (f *File) Discard() {
	if f.done {
		return
	}
	f.done = true
	_ = f.Close()
	_ = os.Remove(f.Name())
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
