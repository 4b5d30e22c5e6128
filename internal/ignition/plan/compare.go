package plan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// changes are what was written to a layer, without what was written as it was.
func (l layer) changes() ([]Change, error) {
	var list []Change
	err := filepath.WalkDir(l.upper, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(l.upper, path)
		if err != nil {
			return err
		}
		found, err := l.change(path, rel)
		list = append(list, found...)
		return err
	})
	return list, err
}

func (l layer) change(upper, rel string) ([]Change, error) {
	name, lower, merged := filepath.Join(l.at, rel), filepath.Join(l.lower, rel), filepath.Join(l.merged, rel)
	before, err := os.Lstat(lower)
	isNew := errors.Is(err, fs.ErrNotExist)
	if err != nil && !isNew {
		return nil, err
	}
	after, err := os.Lstat(merged)
	if errors.Is(err, fs.ErrNotExist) { // a whiteout (overlayfs.rst)
		if isNew {
			return nil, nil
		}
		return []Change{{Action: Delete, Kind: kind(before), Name: name}}, nil
	}
	if err != nil {
		return nil, err
	}
	if isNew {
		return []Change{{Action: Create, Kind: kind(after), Name: name}}, nil
	}
	why, err := differences(before, after, lower, merged)
	if err != nil {
		return nil, err
	}
	var list []Change
	if why != "" {
		list = append(list, Change{Action: Update, Kind: kind(after), Name: name, Why: why})
	}
	if !after.IsDir() || !isOpaque(upper) {
		return list, nil
	}
	gone, err := l.gone(rel)
	return append(list, gone...), err
}

func kind(info fs.FileInfo) string {
	switch {
	case info.IsDir():
		return "directory"
	case info.Mode()&fs.ModeSymlink != 0:
		return "link"
	}
	return "file"
}

// isOpaque says that a folder hides the one below it.
func isOpaque(path string) bool {
	value := make([]byte, 1)
	n, err := unix.Lgetxattr(path, "trusted.overlay.opaque", value)
	return err == nil && n == 1 && value[0] == 'y'
}

// gone are what a folder had and its successor has not.
func (l layer) gone(rel string) ([]Change, error) {
	entries, err := os.ReadDir(filepath.Join(l.lower, rel))
	if errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	var list []Change
	for _, e := range entries {
		name := filepath.Join(rel, e.Name())
		if _, err := os.Lstat(filepath.Join(l.merged, name)); errors.Is(err, fs.ErrNotExist) {
			info, err := e.Info()
			if err != nil {
				return nil, err
			}
			list = append(list, Change{Action: Delete, Kind: kind(info), Name: filepath.Join(l.at, name)})
		}
	}
	return list, err
}

// differences names in what two nodes differ, "" for in nothing that counts.
func differences(before, after fs.FileInfo, lower, merged string) (string, error) {
	if kind(before) != kind(after) {
		return "was a " + kind(before), nil
	}
	was, is := before.Sys().(*syscall.Stat_t), after.Sys().(*syscall.Stat_t)
	var list []string
	if was.Mode != is.Mode {
		list = append(list, fmt.Sprintf("mode %04o instead of %04o", is.Mode&0o7777, was.Mode&0o7777))
	}
	if was.Uid != is.Uid || was.Gid != is.Gid {
		list = append(list, fmt.Sprintf("owner %d:%d instead of %d:%d", is.Uid, is.Gid, was.Uid, was.Gid))
	}
	same, err := sameContents(before, after, lower, merged)
	if err != nil {
		return "", err
	}
	if !same {
		list = append(list, "other contents")
	}
	return strings.Join(list, ", "), nil
}

func sameContents(before, after fs.FileInfo, lower, merged string) (bool, error) {
	switch {
	case before.IsDir():
		return true, nil
	case before.Mode()&fs.ModeSymlink != 0:
		was, err1 := os.Readlink(lower)
		is, err2 := os.Readlink(merged)
		return was == is, errors.Join(err1, err2)
	case !before.Mode().IsRegular():
		return true, nil
	case before.Size() != after.Size():
		return false, nil
	}
	return sameBytes(lower, merged)
}

func sameBytes(a, b string) (bool, error) {
	f, err := os.Open(a)
	if err != nil {
		return false, err
	}
	defer f.Close()
	g, err := os.Open(b)
	if err != nil {
		return false, err
	}
	defer g.Close()
	x, y := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(f, x)
		m, err2 := io.ReadFull(g, y)
		if !bytes.Equal(x[:n], y[:m]) {
			return false, nil
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return true, nil
		}
		if err := errors.Join(err, err2); err != nil {
			return false, err
		}
	}
}
