package image

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"holdfast/internal/blob/derived"
	"holdfast/internal/image/recipe"
	"holdfast/internal/image/tree"
)

// compile gives a Go program: the one that was linked of the same inputs
// before, or one that is linked now.
func (b *build) compile(ctx context.Context, module, pkg string) (tree.Content, error) {
	dir, done, err := b.compiler.module(ctx, module)
	defer done()
	if err != nil {
		return tree.Content{}, err
	}
	in, err := b.compiler.inputs(ctx, dir, pkg, b.Derived != nil)
	if err != nil {
		return tree.Content{}, err
	}
	if recipe.IsLocal(module) {
		base, err := b.base()
		if err != nil {
			return tree.Content{}, err
		}
		// The go.mod at the base is how module finds it again.
		b.inventory.sources = append(append(b.inventory.sources, filepath.Join(base, "go.mod")), in.sources...)
	}
	key := derived.KeyOf("program", in.identity...)
	if c, ok := b.keptContent(key); ok {
		return c, nil
	}
	return b.link(ctx, dir, pkg, key)
}

func (b *build) link(ctx context.Context, dir, pkg string, key derived.Key) (tree.Content, error) {
	tmp, err := os.MkdirTemp(b.TempDir, "holdfast-program-*")
	if err != nil {
		return tree.Content{}, err
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, "program")
	if err := b.compiler.link(ctx, dir, pkg, out); err != nil {
		return tree.Content{}, err
	}
	f, err := os.Open(out)
	if err != nil {
		return tree.Content{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return tree.Content{}, err
	}
	c, err := b.spool.Add(f, info.Size())
	if err != nil {
		return c, err
	}
	return c, b.Derived.Put(key, func(w io.Writer) error {
		_, err := io.Copy(w, c.Open())
		return err
	})
}
