// Package kmod finds kernel modules and all they depend upon.
//
// It reads what the modules say of themselves (.modinfo), since a kernel
// package carries no modules.dep before depmod has run.
package kmod

import (
	"errors"
	"io/fs"
)

// A Module is a file of the tree.
type Module struct {
	Name string // with underscores: virtio_blk
	Path string // kernel/drivers/block/virtio_blk.ko
}

// A Tree is the folder lib/modules/VERSION.
type Tree struct{}

// Open indexes fsys, which is rooted at lib/modules/VERSION.
func Open(fsys fs.FS) (*Tree, error) { return nil, errors.New("not built") }

// Resolve returns the named modules and their dependencies in load order.
// Dash and underscore are the same; a built-in module resolves to nothing.
func (t *Tree) Resolve(names ...string) ([]Module, error) { return nil, errors.New("not built") }
