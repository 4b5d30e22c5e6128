package cluster

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// keepPrograms gives the cluster links to the programs and images of this build:
// a newer build, or a collector, takes nothing from under nodes that run.
func (f *Fleet) keepPrograms(name string, c *Components) error {
	dir := f.programs(name)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for _, part := range []string{"bin", "cni", "images"} {
		if err := os.MkdirAll(filepath.Join(dir, part), 0o755); err != nil {
			return err
		}
	}
	for to, from := range c.Files {
		path := filepath.Join(dir, to)
		if err := linkOrCopy(from, path); err != nil {
			return err
		}
		forget(path)
	}
	return nil
}

// forget drops what the kernel keeps of a file that nobody uses: who reads it next is who
// its pages are counted for, and a node can give back no others.
func forget(path string) {
	f, err := os.Open(path)
	if err != nil {
		return // whoever needs it says so
	}
	defer f.Close()
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// linkOrCopy copies only where a link cannot be: to another file system.
func linkOrCopy(from, to string) error {
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return err
	}
	err = os.Link(from, to)
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// imagesIn are the archives that every node takes in.
func imagesIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var images []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".tar") {
			images = append(images, e.Name())
		}
	}
	return images, nil
}
