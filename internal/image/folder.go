package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A folder is being filled beside its final place and takes its name only
// when it is whole, so that nobody ever sees half an image.
type folder struct {
	tmp, final string
}

// marks are the files that tell a folder of ours from somebody's own.
var marks = []string{"oci-layout", "image.json"}

// newFolder starts a folder that commit will call path.
func newFolder(path string) (*folder, error) {
	final, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := mayReplace(final); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(final), ".holdfast-image-*")
	if err != nil {
		return nil, err
	}
	return &folder{tmp: tmp, final: final}, os.Chmod(tmp, 0o755)
}

// ErrNotImage is matched when the output folder exists and is not an image.
var ErrNotImage = errors.New("exists and is neither empty nor an image")

func mayReplace(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	for _, m := range marks {
		if _, err := os.Lstat(filepath.Join(path, m)); err == nil {
			return nil
		}
	}
	return errors.Join(fmt.Errorf("%s: %w", path, ErrNotImage), err)
}

// path is a file of the folder while it is being filled.
func (f *folder) path(elem ...string) string {
	return filepath.Join(append([]string{f.tmp}, elem...)...)
}

// commit gives the folder its name; an older image there is replaced in one step.
func (f *folder) commit() error {
	err := unix.Renameat2(unix.AT_FDCWD, f.tmp, unix.AT_FDCWD, f.final, unix.RENAME_NOREPLACE)
	if errors.Is(err, fs.ErrExist) {
		if err := mayReplace(f.final); err != nil {
			return err
		}
		err = unix.Renameat2(unix.AT_FDCWD, f.tmp, unix.AT_FDCWD, f.final, unix.RENAME_EXCHANGE)
	}
	if err != nil {
		return &fs.PathError{Op: "rename", Path: f.final, Err: err}
	}
	parent, err := os.Open(filepath.Dir(f.final))
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}

// discard removes what is left: everything before commit, the replaced image after it.
func (f *folder) discard() { _ = os.RemoveAll(f.tmp) }
