package cluster

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

func netipPrefix(a netip.Addr, in netip.Prefix) netip.Prefix { return netip.PrefixFrom(a, in.Bits()) }

// keepPrograms gives the cluster links to the programs and images of this build:
// a newer build, or a collector, takes nothing from under nodes that run.
func (f *Fleet) keepPrograms(name string, c *Components) error {
	for part, from := range map[string]string{"bin": c.Bin, "cni": c.CNI, "images": c.Images} {
		to := filepath.Join(f.programs(name), part)
		if err := errors.Join(os.RemoveAll(to), os.MkdirAll(to, 0o755)); err != nil {
			return err
		}
		entries, err := os.ReadDir(from)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() {
				continue
			}
			if err := linkOrCopy(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
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
