package tree

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"strings"
	"time"
)

// xattrPrefix begins the PAX records that carry extended attributes.
const xattrPrefix = "SCHILY.xattr."

// AddHeader adds one entry of a package's tar stream; content is a regular
// file's. Origin names the package in errors.
func (t *Tree) AddHeader(origin string, h *tar.Header, content Content) error {
	name := path.Clean("/" + h.Name)[1:]
	if name == "" {
		return nil // the root itself
	}
	if h.Typeflag == tar.TypeLink {
		return t.link(origin, name, path.Clean("/" + h.Linkname)[1:])
	}
	n := &Node{
		Type: h.Typeflag, Mode: uint32(h.Mode) & 0o7777, UID: h.Uid, GID: h.Gid,
		Xattrs: xattrs(h.PAXRecords), Time: h.ModTime.Truncate(time.Second), origin: origin,
	}
	switch h.Typeflag {
	case tar.TypeDir, tar.TypeFifo:
	case tar.TypeSymlink:
		n.Target, n.Mode = h.Linkname, 0o777
	case tar.TypeChar, tar.TypeBlock:
		n.Major, n.Minor = h.Devmajor, h.Devminor
	case tar.TypeReg:
		n.Content = content
	default:
		return fmt.Errorf("/%s in %s: entry type %q is not a file of any kind", name, origin, h.Typeflag)
	}
	return t.add(name, n)
}

// link makes p another name of the file at target.
func (t *Tree) link(origin, p, target string) error {
	n := t.Lookup(target)
	if n == nil || n.Type == tar.TypeDir {
		return fmt.Errorf("/%s in %s: hard link to /%s, which is no file before it", p, origin, target)
	}
	return t.add(p, n)
}

func xattrs(records map[string]string) map[string]string {
	var found map[string]string
	for key, value := range records {
		name, ok := strings.CutPrefix(key, xattrPrefix)
		if !ok {
			continue
		}
		if found == nil {
			found = map[string]string{}
		}
		found[name] = value
	}
	return found
}

// identical tells whether two nodes are the same file to whoever reads them.
func identical(a, b *Node) (bool, error) {
	if a == b {
		return true, nil
	}
	if a.Type != b.Type || a.Mode != b.Mode || a.UID != b.UID || a.GID != b.GID || a.Target != b.Target ||
		a.Major != b.Major || a.Minor != b.Minor || a.Content.Size != b.Content.Size || !maps.Equal(a.Xattrs, b.Xattrs) {
		return false, nil
	}
	return sameBytes(a.Content.Open(), b.Content.Open())
}

func sameBytes(a, b io.Reader) (bool, error) {
	one, two := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(a, one)
		m, errB := io.ReadFull(b, two)
		if !bytes.Equal(one[:n], two[:m]) {
			return false, nil
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return true, nil
		}
		if err := errors.Join(err, errB); err != nil {
			return false, err
		}
	}
}
