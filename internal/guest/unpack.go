package guest

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// An unpacker applies layers to a tree, one after the other: image-spec 1.1,
// "Applying Changesets".
type unpacker struct {
	tree   *tree
	made   map[string]bool // names of this layer
	times  []folderTime
	buffer []byte
}

// A folderTime is set when no more entries change it.
type folderTime struct {
	name string
	time [2]unix.Timespec
}

func newUnpacker(t *tree) *unpacker { return &unpacker{tree: t, buffer: make([]byte, 256<<10)} }

// unpack applies the next layer.
func (u *unpacker) unpack(archive io.Reader) error {
	u.made = make(map[string]bool)
	r := tar.NewReader(archive)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := u.entry(h, r); err != nil {
			return fmt.Errorf("%.200q: %w", h.Name, err)
		}
	}
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if base := path.Base(clean(h.Name)); strings.HasPrefix(base, whiteout) {
		return u.whiteout(clean(h.Name))
	}
	if h.Uid < 0 || h.Gid < 0 || h.Uid >= math.MaxUint32 || h.Gid >= math.MaxUint32 {
		return fmt.Errorf("owner %d:%d is out of range", h.Uid, h.Gid)
	}
	dir, base, err := u.tree.at(h.Name, true)
	if err != nil {
		return err
	}
	made, err := u.make(h, dir, base, content)
	if err != nil || !made {
		return err
	}
	u.made[clean(h.Name)] = true
	return u.describe(h, dir, base)
}

// make makes what an entry is, without its owner, mode and times. Device
// nodes are left out: a container has those that runc makes, and no others.
func (u *unpacker) make(h *tar.Header, dir int, base string, content io.Reader) (made bool, err error) {
	switch h.Typeflag {
	case tar.TypeDir:
		return true, u.folder(dir, base)
	case tar.TypeReg, tar.TypeGNUSparse:
		return true, u.again(dir, base, func() error { return u.file(dir, base, content) })
	case tar.TypeSymlink:
		return true, u.again(dir, base, func() error { return unix.Symlinkat(h.Linkname, dir, base) })
	case tar.TypeFifo:
		return true, u.again(dir, base, func() error { return unix.Mknodat(dir, base, unix.S_IFIFO|0o600, 0) })
	case tar.TypeLink:
		return false, u.link(h.Linkname, dir, base)
	case tar.TypeChar, tar.TypeBlock:
		return false, nil
	}
	return false, fmt.Errorf("entry of type %q: want a file, folder, link, fifo or device", h.Typeflag)
}

// again makes an entry; where an older one is in the way, instead of it.
func (u *unpacker) again(dir int, base string, make func() error) error {
	err := make()
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if base == "." {
		return errors.New("it would replace the root folder")
	}
	if err := u.tree.remove(dir, base); err != nil {
		return err
	}
	return make()
}
