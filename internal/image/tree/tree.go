// Package tree holds the files an image is made of before they become one:
// who owns them, their modes and links, and where their bytes are.
//
// A tree comes from packages and a recipe without root and without a file of
// it ever being created, and it always leaves as the same bytes: sorted, whole
// (no entry without its parent directory) and without a date of today. It
// leaves in one piece, or in the layers that it was filled in.
package tree

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// A Node is a file of any kind. Several paths may lead to one Node: they are
// hard links of each other.
type Node struct {
	Type         byte   // tar.TypeReg, TypeDir, TypeSymlink, TypeChar, TypeBlock or TypeFifo
	Mode         uint32 // permissions with setuid (04000), setgid (02000) and sticky (01000)
	UID, GID     int
	Target       string // of a symbolic link
	Major, Minor int64  // of a device
	Xattrs       map[string]string
	Content      Content   // of a regular file
	Time         time.Time // as its package has it; zero is the image's date

	origin string // the package or recipe that brought it
}

// Content is where a regular file's bytes are. The zero value is empty.
type Content struct {
	At     io.ReaderAt
	Offset int64
	Size   int64
}

// Bytes is content held in memory: for the small files a recipe writes.
func Bytes(b []byte) Content { return Content{At: bytes.NewReader(b), Size: int64(len(b))} }

// Open reads the content from its start.
func (c Content) Open() *io.SectionReader {
	if c.At == nil {
		return io.NewSectionReader(bytes.NewReader(nil), 0, 0)
	}
	return io.NewSectionReader(c.At, c.Offset, c.Size)
}

// A Tree maps paths to nodes. Paths are slash-separated and relative to its
// root, as in fs.FS. The zero Tree is not usable; see New.
type Tree struct {
	nodes map[string]*Node

	layer   int // that is being filled
	at      map[string]int
	earlier map[string][]version // what nodes cover, the oldest first
}

// New is a tree with an empty root.
func New() *Tree {
	return &Tree{nodes: map[string]*Node{}, at: map[string]int{}, earlier: map[string][]version{}}
}

// ErrNotDirectory is matched when a path leads through a file.
var ErrNotDirectory = errors.New("not a directory")

// A ConflictError tells that two packages bring different files for one path.
type ConflictError struct {
	Path          string
	First, Second string
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("/%s: %s and %s bring different files", e.Path, e.First, e.Second)
}

// MergeUsr makes bin, sbin, lib and lib64 links into usr, as every Debian
// system since bookworm has them; packages added later follow the links.
// https://www.debian.org/doc/debian-policy/ch-files.html#file-system-hierarchy
func (t *Tree) MergeUsr() error {
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := t.Put("usr/"+name, &Node{Type: tar.TypeDir, Mode: 0o755}); err != nil {
			return err
		}
		if err := t.Put(name, &Node{Type: tar.TypeSymlink, Mode: 0o777, Target: "usr/" + name}); err != nil {
			return err
		}
	}
	return nil
}

// Lookup is the node at p after following links in its parents, nil when
// there is none.
func (t *Tree) Lookup(p string) *Node {
	real, err := t.resolve(p)
	if err != nil {
		return nil
	}
	return t.nodes[real]
}

// Paths are all paths in order. A directory precedes what it holds.
func (t *Tree) Paths() []string {
	paths := make([]string, 0, len(t.nodes))
	for p := range t.nodes {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths
}

// Put sets p to n, whatever was there: a recipe's word is the last one. Only
// a directory cannot be replaced by something else while it holds files.
func (t *Tree) Put(p string, n *Node) error {
	real, err := t.place(p, n.origin)
	if err != nil {
		return err
	}
	if old := t.nodes[real]; old != nil && old.Type == tar.TypeDir && n.Type != tar.TypeDir && t.holdsFiles(real) {
		return fmt.Errorf("/%s: is a directory that holds files", real)
	}
	t.set(real, n)
	return nil
}

// add sets p to n as a package brings it: directories may be shared (the
// first one's owner and mode stay, as dpkg does), files only when identical.
func (t *Tree) add(p string, n *Node) error {
	real, err := t.place(p, n.origin)
	if err != nil {
		return err
	}
	old := t.nodes[real]
	if old == nil {
		t.set(real, n)
		return nil
	}
	if n.Type == tar.TypeDir && (old.Type == tar.TypeDir || t.leadsToDir(real)) {
		return nil
	}
	same, err := identical(old, n)
	if err == nil && !same {
		err = &ConflictError{Path: real, First: old.from(), Second: n.from()}
	}
	return err
}

func (n *Node) from() string {
	if n.origin == "" {
		return "the recipe"
	}
	return n.origin
}

// place is the real path of p, with all its parents made.
func (t *Tree) place(p, origin string) (string, error) {
	real, err := t.resolve(p)
	if err != nil {
		return "", err
	}
	for dir := path.Dir(real); dir != "."; dir = path.Dir(dir) {
		if t.nodes[dir] != nil {
			break
		}
		t.set(dir, &Node{Type: tar.TypeDir, Mode: 0o755, origin: origin})
	}
	return real, nil
}

// maxLinks is how many links a path may lead through, as in Linux.
const maxLinks = 40

// resolve follows the links among p's parents, inside the tree. The last
// component is not followed.
func (t *Tree) resolve(p string) (string, error) {
	clean := strings.TrimPrefix(p, "/")
	if !fs.ValidPath(clean) || clean == "." || strings.ContainsRune(clean, 0) {
		return "", fmt.Errorf("path %.200q: want one inside the tree, free of dots that lead elsewhere", p)
	}
	rest, done := strings.Split(clean, "/"), ""
	for links := 0; len(rest) > 1; {
		next := path.Join(done, rest[0])
		n := t.nodes[next]
		switch {
		case rest[0] == "..":
			done, rest = strings.TrimPrefix(path.Dir("/"+done), "/"), rest[1:]
		case n == nil || n.Type == tar.TypeDir:
			done, rest = next, rest[1:]
		case n.Type != tar.TypeSymlink:
			return "", fmt.Errorf("/%s: /%s: %w", clean, next, ErrNotDirectory)
		default:
			if links++; links > maxLinks {
				return "", fmt.Errorf("/%s: more than %d links on the way", clean, maxLinks)
			}
			if path.IsAbs(n.Target) {
				done = ""
			}
			rest = append(components(n.Target), rest[1:]...)
		}
	}
	return path.Join(done, rest[0]), nil
}

// components splits a link's target, dropping what means nothing.
func components(target string) []string {
	return slices.DeleteFunc(strings.Split(target, "/"), func(s string) bool { return s == "" || s == "." })
}

// leadsToDir tells whether p is a link whose target is a directory.
func (t *Tree) leadsToDir(p string) bool {
	if t.nodes[p].Type != tar.TypeSymlink {
		return false
	}
	real, err := t.resolve(p + "/x") // follows p itself
	if err != nil {
		return false
	}
	dir := t.nodes[path.Dir(real)]
	return dir != nil && dir.Type == tar.TypeDir
}

func (t *Tree) holdsFiles(dir string) bool {
	for p := range t.nodes {
		if strings.HasPrefix(p, dir+"/") {
			return true
		}
	}
	return false
}
