// Package rooted is the file system below a folder, as the system that will
// run in it sees it.
//
// Absolute links start at the folder, and no link and no race leads out of it:
// what remains after links were read as text is opened by os.Root.
package rooted

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Dir is an open folder that stands for /.
type Dir struct{ *os.Root }

// Open opens the folder; close it.
func Open(path string) (*Dir, error) {
	r, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	return &Dir{r}, nil
}

// links is how many the kernel follows in one path (path_resolution(7)).
const links = 40

// Resolve names the place of an absolute path for the methods of os.Root. Links
// before the last element are followed, whether or not they lead to something;
// the last one is taken as it is.
func (d *Dir) Resolve(path string) (string, error) {
	return d.walk(path, 1)
}

// Follow also follows a link in the last element.
func (d *Dir) Follow(path string) (string, error) {
	return d.walk(path, 0)
}

func (d *Dir) walk(path string, keep int) (string, error) {
	at, todo, hops := ".", elements(filepath.Clean("/"+path)), 0
	for len(todo) > keep {
		name := todo[0]
		todo = todo[1:]
		if name == ".." {
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		target, err := d.Readlink(next)
		switch {
		case notALink(err):
			at = next
			continue
		case err != nil:
			return "", fmt.Errorf("%s: %w", path, err)
		}
		if hops++; hops > links {
			return "", fmt.Errorf("%s: %w", path, syscall.ELOOP)
		}
		if filepath.IsAbs(target) {
			at = "."
		}
		todo = append(elements(target), todo...)
	}
	return filepath.Join(append([]string{at}, todo...)...), nil
}

func notALink(err error) bool {
	return errors.Is(err, syscall.EINVAL) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// elements of a path, without those that say nothing.
func elements(path string) []string {
	var names []string
	for name := range strings.SplitSeq(path, "/") {
		if name != "" && name != "." {
			names = append(names, name)
		}
	}
	return names
}

// Parents makes the folders above a resolved path, as mode 0755.
func (d *Dir) Parents(path string) error {
	return d.Folders(filepath.Dir(path), 0o755, nil)
}

// Folders makes a resolved folder and those above it, and tells made of each
// that was not there. The mode is what it says, whatever the umask.
func (d *Dir) Folders(path string, mode os.FileMode, made func(string) error) error {
	at := "."
	for _, name := range elements(path) {
		at = filepath.Join(at, name)
		err := d.Mkdir(at, 0o700)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			err = d.Chmod(at, mode)
		}
		if err == nil && made != nil {
			err = made(at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Abs is how people and the host name a resolved path.
func (d *Dir) Abs(path string) string { return filepath.Join("/", path) }
