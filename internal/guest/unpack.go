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
	room   int64 // bytes that a layer may take; 0: no bound but the file system's
	left   int64 // of that, for the layer at hand
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
	u.left = u.room
	r := tar.NewReader(archive)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := u.entry(h, u.bounded(r)); err != nil {
			return fmt.Errorf("%.200q: %w", h.Name, err)
		}
	}
}

// bounded is content, as long as the layer has room. The holes of sparse files
// are content, too.
func (u *unpacker) bounded(content io.Reader) io.Reader {
	if u.room <= 0 {
		return content
	}
	return &bounded{content, u}
}

type bounded struct {
	io.Reader
	u *unpacker
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.u.left -= int64(n); b.u.left < 0 {
		return 0, fmt.Errorf("the layer unpacks to more than the %d bytes that there are for it", b.u.room)
	}
	return n, err
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
