package tree

import (
	"archive/tar"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// FS shows the folder dir of the tree as a file system, for readers such as
// kmod. Links in dir itself and on the way to it are followed, others are not.
func (t *Tree) FS(dir string) fs.FS { return &treeFS{t, dir} }

type treeFS struct {
	tree *Tree
	dir  string
}

func (f *treeFS) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	real, err := f.tree.resolve(path.Join(f.dir, name))
	n := f.tree.nodes[real]
	if err != nil || n == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	info := fileInfo{path.Base(name), n}
	if n.Type != tar.TypeDir {
		return &openFile{info, n.Content.Open()}, nil
	}
	return &openDir{info, f.tree.list(real)}, nil
}

// list is what dir holds itself, in order.
func (t *Tree) list(dir string) []fs.DirEntry {
	var found []fs.DirEntry
	for p, n := range t.nodes {
		if rest, ok := strings.CutPrefix(p, dir+"/"); ok && !strings.Contains(rest, "/") {
			found = append(found, fs.FileInfoToDirEntry(fileInfo{rest, n}))
		}
	}
	slices.SortFunc(found, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return found
}

type fileInfo struct {
	name string
	node *Node
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.node.Content.Size }
func (i fileInfo) ModTime() time.Time { return time.Time{} }
func (i fileInfo) IsDir() bool        { return i.node.Type == tar.TypeDir }
func (i fileInfo) Sys() any           { return i.node }
func (i fileInfo) Mode() fs.FileMode {
	return (&tar.Header{Typeflag: i.node.Type, Mode: int64(i.node.Mode)}).FileInfo().Mode()
}

type openFile struct {
	info fileInfo
	*io.SectionReader
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

type openDir struct {
	info fileInfo
	rest []fs.DirEntry
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *openDir) Close() error               { return nil }
func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.name, Err: fs.ErrInvalid}
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(d.rest) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(d.rest) {
		n = len(d.rest)
	}
	batch := d.rest[:n]
	d.rest = d.rest[n:]
	return batch, nil
}
