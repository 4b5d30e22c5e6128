package squashfs

import (
	"archive/tar"
	"io"
	"path"
	"strings"
)

// A File is one name in an image; several may share an Inode.
type File struct {
	Path         string // relative; "." is the root
	Inode        uint32
	Type         byte   // as in archive/tar; 's' is a socket
	Mode         uint32 // permissions with setuid, setgid and sticky
	UID, GID     uint32
	Time         uint32 // modification, in seconds since 1970
	Size         int64  // of a regular file
	Target       string // of a symbolic link
	Major, Minor uint32 // of a device
	Xattrs       map[string]string

	inode inode
}

// TypeSocket is a File's type that tar has none for.
const TypeSocket = 's'

const (
	maxDepth = 256
	maxFiles = 4 << 20
)

// Walk gives fn every file, a folder before what it holds, and its content
// when it is a regular file, which may be left unread.
func (m *Image) Walk(fn func(f File, content io.Reader) error) error {
	clear(m.visited)
	left := maxFiles
	return m.walk(".", m.super.Root, fn, &left)
}

func (m *Image) walk(name string, ref uint64, fn func(File, io.Reader) error, left *int) error {
	if *left--; *left < 0 || strings.Count(name, "/") > maxDepth {
		return damaged("too many files or folders in each other")
	}
	f, err := m.inode(ref)
	if err != nil {
		return err
	}
	f.Path = name
	if err := fn(f, m.content(f)); err != nil || f.Type != tar.TypeDir {
		return err
	}
	if m.visited[f.Inode] {
		return damaged("folder %q is in two places", name)
	}
	m.visited[f.Inode] = true
	return m.list(f.inode, func(entry string, ref uint64) error {
		return m.walk(path.Join(name, entry), ref, fn, left)
	})
}

// list reads a folder's entries: runs of struct squashfs_dir_header, each
// followed by its squashfs_dir_entry.
func (m *Image) list(d inode, fn func(name string, ref uint64) error) error {
	const ends = 3 // the size counts "." and ".." in
	left := int64(d.size) - ends
	if left <= 0 {
		return nil
	}
	c := m.cursor(m.super.DirTable+d.start, int(d.offset))
	for left > 0 {
		count, start := c.u32(), c.u32()
		c.u32()
		left -= 12
		if count >= 256 {
			return damaged("a folder's run of %d entries", count)
		}
		for range count + 1 {
			offset := c.u16()
			c.u32() // inode number and type, which the inode has too
			n := int(c.u16()) + 1
			if c.err != nil || n > 256 {
				return damaged("a folder's entry: %v", c.err)
			}
			name := string(c.bytes(n))
			left -= int64(8 + n)
			if c.err != nil || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
				return damaged("name %.200q: %v", name, c.err)
			}
			if err := fn(name, uint64(start)<<16|uint64(offset)); err != nil {
				return err
			}
		}
	}
	return nil
}
