package squashfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// A node is a file of any kind, under one name or several.
type node struct {
	header   *tar.Header
	children []child // of a directory
	file     fileData
	links    uint32
	number   uint32
	parent   *node // of a directory

	written bool
	block   uint32 // where its inode lies
	offset  uint16
}

type child struct {
	name string
	node *node
}

func (n *node) isDir() bool { return n.header.Typeflag == tar.TypeDir }

type tree struct {
	root  *node
	paths map[string]*node
	count int // nodes
}

func newTree(mode uint32) *tree {
	if mode == 0 {
		mode = 0o755
	}
	root := &node{header: &tar.Header{Typeflag: tar.TypeDir, Mode: int64(mode)}, links: 2}
	return &tree{root: root, paths: map[string]*node{".": root}, count: 1}
}

// maxName is SQUASHFS_NAME_LEN.
const maxName = 256

// add makes h a node. It returns nil when h is another name of one.
func (t *tree) add(h *tar.Header) (*node, error) {
	name := path.Clean(strings.TrimLeft(h.Name, "/"))
	if name == "." {
		t.root.header = h
		return t.root, nil
	}
	dir := t.paths[path.Dir(name)]
	switch {
	case dir == nil || !dir.isDir():
		return nil, errors.New("no directory for it came before")
	case t.paths[name] != nil:
		return nil, errors.New("it is there already")
	case len(path.Base(name)) > maxName:
		return nil, fmt.Errorf("its name has %d bytes, want at most %d", len(path.Base(name)), maxName)
	}
	n, isNew := &node{header: h, links: 1, parent: dir}, true
	if h.Typeflag == tar.TypeLink {
		n, isNew = t.paths[path.Clean(strings.TrimLeft(h.Linkname, "/"))], false
		if n == nil || n.isDir() {
			return nil, fmt.Errorf("hard link to %s, which is no file before it", h.Linkname)
		}
		n.links++
	}
	t.paths[name] = n
	dir.children = append(dir.children, child{path.Base(name), n})
	if !isNew {
		return nil, nil
	}
	if n.isDir() {
		n.links = 2
		dir.links++
	}
	t.count++
	return n, nil
}

// number sorts every directory and gives every node its number, the root
// first: a directory's inode names its parent's.
func (t *tree) number() {
	next := uint32(0)
	var walk func(n *node)
	walk = func(n *node) {
		if n.number != 0 {
			return // another name of it came before
		}
		next++
		n.number = next
		slices.SortFunc(n.children, func(a, b child) int { return strings.Compare(a.name, b.name) })
		for _, c := range n.children {
			walk(c.node)
		}
	}
	walk(t.root)
}
