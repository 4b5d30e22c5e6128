package tree

import (
	"archive/tar"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// Size is how many bytes the tree's regular files hold, each counted once.
func (t *Tree) Size() int64 {
	var sum int64
	seen := map[*Node]bool{}
	for _, n := range t.nodes {
		if !seen[n] {
			sum += n.Content.Size
		}
		seen[n] = true
	}
	return sum
}

// WriteTar writes the tree as a tar stream: sorted by path, every time set to
// date, owners by number, PAX records only where the old header has no room.
// The root itself has no entry.
func (t *Tree) WriteTar(w io.Writer, date time.Time) error {
	return write(w, t.nodes, func(*Node) time.Time { return date })
}

func write(w io.Writer, files map[string]*Node, dated func(*Node) time.Time) error {
	out := tar.NewWriter(w)
	first := map[*Node]string{}
	for _, p := range slices.Sorted(maps.Keys(files)) {
		n := files[p]
		h := n.header(p, dated(n))
		if earlier, ok := first[n]; ok {
			h.Typeflag, h.Linkname, h.Size, h.PAXRecords = tar.TypeLink, earlier, 0, nil
		}
		first[n] = p
		if err := out.WriteHeader(h); err != nil {
			return fmt.Errorf("/%s: %w", p, err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if _, err := io.Copy(out, n.Content.Open()); err != nil {
			return fmt.Errorf("/%s: %w", p, err)
		}
	}
	return out.Close()
}

func (n *Node) header(p string, date time.Time) *tar.Header {
	h := &tar.Header{
		Typeflag: n.Type, Name: p, Linkname: n.Target, Mode: int64(n.Mode), Uid: n.UID, Gid: n.GID,
		Devmajor: n.Major, Devminor: n.Minor, Size: n.Content.Size, ModTime: date.Truncate(time.Second),
	}
	if n.Type == tar.TypeDir {
		h.Name += "/"
	}
	for name, value := range n.Xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[xattrPrefix+name] = value
	}
	return h
}
