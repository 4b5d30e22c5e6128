package tree

import (
	"archive/tar"
	"io"
	"path"
	"slices"
	"time"
)

// A version is what an earlier layer has at a path.
type version struct {
	layer int
	node  *Node
}

// NextLayer ends a layer: what is added from now on is in the next. A folder
// that no package dated gets the newest time of its layer, so that a layer's
// bytes depend on nothing that comes after it.
func (t *Tree) NextLayer() {
	var newest time.Time
	current := func(p string) bool { return t.at[p] == t.layer }
	for p, n := range t.nodes {
		if current(p) && n.Time.After(newest) {
			newest = n.Time
		}
	}
	for p, n := range t.nodes {
		if current(p) && n.Time.IsZero() {
			n.Time = newest
		}
	}
	t.layer++
}

// Layers is how many layers there are; the last is still open.
func (t *Tree) Layers() int { return t.layer + 1 }

// set puts n at p. What an earlier layer has there stays in that layer, as
// long as one can lie over the other.
func (t *Tree) set(p string, n *Node) {
	if old := t.nodes[p]; old != nil {
		if (old.Type == tar.TypeDir) != (n.Type == tar.TypeDir) {
			delete(t.earlier, p)
		} else if t.at[p] < t.layer {
			t.earlier[p] = append(t.earlier[p], version{t.at[p], old})
		}
	}
	t.nodes[p], t.at[p] = n, t.layer
}

// drop removes p from all layers.
func (t *Tree) drop(p string) {
	delete(t.nodes, p)
	delete(t.at, p)
	delete(t.earlier, p)
}

// upTo is the node that the layers up to i leave at p, and the layer it is of.
func (t *Tree) upTo(p string, i int) (*Node, int) {
	if t.nodes[p] != nil && t.at[p] <= i {
		return t.nodes[p], t.at[p]
	}
	for _, v := range slices.Backward(t.earlier[p]) {
		if v.layer <= i {
			return v.node, v.layer
		}
	}
	return nil, -1
}

// inLayer are the files of layer i with the folders that lead to them.
func (t *Tree) inLayer(i int) map[string]*Node {
	files := map[string]*Node{}
	for p := range t.nodes {
		n, layer := t.upTo(p, i)
		if layer != i {
			continue
		}
		files[p] = n
		for dir := path.Dir(p); dir != "." && files[dir] == nil; dir = path.Dir(dir) {
			files[dir], _ = t.upTo(dir, i)
		}
	}
	return files
}

// LayerPaths is how many paths layer i brings.
func (t *Tree) LayerPaths(i int) int { return len(t.inLayer(i)) }

// WriteLayer writes layer i as a tar stream, as WriteTar does the whole tree,
// but a file that a package dated keeps its date. The layers, unpacked one
// over the other, are the tree: none has to take away what another brought.
func (t *Tree) WriteLayer(w io.Writer, i int, date time.Time) error {
	return write(w, t.inLayer(i), func(n *Node) time.Time {
		if n.Time.IsZero() {
			return date
		}
		return n.Time
	})
}

// LayerFiles gives fn the path and the content of each regular file that
// layer i has and no later one covers, in order.
func (t *Tree) LayerFiles(i int, fn func(p string, c Content) error) error {
	for _, p := range t.Paths() {
		if n := t.nodes[p]; t.at[p] == i && n.Type == tar.TypeReg {
			if err := fn(p, n.Content); err != nil {
				return err
			}
		}
	}
	return nil
}
