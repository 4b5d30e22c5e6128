package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// A tree is a folder that holds a container's root. Names are resolved by the
// kernel as a process inside would see them (openat2, RESOLVE_IN_ROOT): no
// symlink of an image leads out.
type tree struct {
	fd    int    // O_PATH
	last  string // the folder used last; empty: none
	open  int    // a descriptor of it
	stale bool   // its name may mean another folder by now
}

func openTree(dir string) (*tree, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return &tree{fd: fd}, nil
}

func (t *tree) Close() error {
	t.forget()
	return unix.Close(t.fd)
}

func (t *tree) forget() {
	if t.last != "" {
		_ = unix.Close(t.open)
	}
	t.last, t.stale = "", false
}

func (t *tree) openat2(name string, flags uint64) (int, error) {
	return unix.Openat2(t.fd, "./"+name, &unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// folder opens a folder, making it and those above it when make is set. The
// descriptor is the tree's and good until the next call.
func (t *tree) folder(dir string, make bool) (int, error) {
	if dir == t.last && !t.stale {
		return t.open, nil
	}
	fd, err := t.openat2(dir, unix.O_PATH|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) && make {
		fd, err = t.makeFolder(dir)
	}
	if err != nil {
		return 0, &os.PathError{Op: "open folder", Path: dir, Err: err}
	}
	t.forget()
	t.last, t.open = dir, fd
	return fd, nil
}

func (t *tree) makeFolder(dir string) (int, error) {
	above, err := t.folder(path.Dir(dir), true)
	if err != nil {
		return 0, err
	}
	err = unix.Mkdirat(above, path.Base(dir), 0o755)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return 0, err
	}
	return t.openat2(dir, unix.O_PATH|unix.O_DIRECTORY)
}

// at splits a name into its folder, opened, and its last element, which is "."
// for the tree itself.
func (t *tree) at(name string, make bool) (dir int, base string, err error) {
	name = clean(name)
	if name == "/" {
		return t.fd, ".", nil
	}
	dir, err = t.folder(path.Dir(name), make)
	return dir, path.Base(name), err
}

// clean makes an archive's name absolute and takes its dots out.
func clean(name string) string { return path.Clean("/" + name) }

// remove removes what a folder holds under a name, with all below it. It
// follows no symlink (os.RemoveAll does not).
func (t *tree) remove(dir int, base string) error {
	t.stale = true
	return os.RemoveAll(fmt.Sprintf("/proc/self/fd/%d/%s", dir, base))
}

// read returns a file of the tree, at most limit bytes of it.
func (t *tree) read(name string, limit int64) ([]byte, error) {
	fd, err := t.openat2(clean(name), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%s is no ordinary file", name), err)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}
