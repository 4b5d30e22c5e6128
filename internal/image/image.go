// Package image turns a recipe and its lock into an image: an OCI image for
// containers, or a machine image that firmware boots.
//
// Nothing is mounted, no root is needed, and the same lock gives the same
// bytes, whatever the folder, clock, umask or user. An output folder is whole
// or absent.
package image

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"holdfast/internal/blob"
	"holdfast/internal/deb"
	"holdfast/internal/image/recipe"
	"holdfast/internal/image/sbom"
	"holdfast/internal/image/tree"
	"holdfast/internal/progress"
	"holdfast/internal/sign"
)

// A Fetcher brings packages into the store that Options.Store reads, as
// *deb.Archive does.
type Fetcher interface {
	Fetch(ctx context.Context, pins []deb.Pin) error
}

// Options say what to build, from where and to where.
type Options struct {
	Recipe *recipe.Recipe
	Lock   *recipe.Lock
	// Archive fetches packages into Store, which must be the store it has.
	Archive Fetcher
	Store   blob.Store
	// Output is the folder to make. An image that is there already is
	// replaced when the new one is whole; anything else there is refused.
	Output string
	// Signers sign what the build states of the image; there may be none.
	Signers []sign.Signer

	Go       string            // the go command; by default the one in PATH
	TempDir  string            // by default the system's
	Progress progress.Reporter // by default silent
}

// A MissingToolError tells that a program is needed, and how to get it.
type MissingToolError struct{ Tool, Install string }

func (e *MissingToolError) Error() string { return fmt.Sprintf("%s: no such program here", e.Tool) }

// Hint says what a person can do.
func (e *MissingToolError) Hint() string { return e.Install }

// A build is what all images have in common while they are made.
type build struct {
	Options
	compiler  compiler
	spool     *tree.Spool
	inventory inventory
}

func newBuild(ctx context.Context, o Options) (*build, error) {
	if o.Recipe == nil || o.Lock == nil || o.Archive == nil || o.Store == nil || o.Output == "" {
		return nil, errors.New("image: recipe, lock, archive, store and output are all needed")
	}
	if err := o.Lock.Matches(o.Recipe); err != nil {
		return nil, err
	}
	o.Progress = progress.Or(o.Progress)
	spool, err := tree.NewSpool(o.TempDir)
	if err != nil {
		return nil, err
	}
	b := &build{Options: o, spool: spool, compiler: compiler{
		tool: cmp.Or(o.Go, "go"), arch: o.Lock.Architecture, dir: o.Recipe.Dir(), temp: o.TempDir,
	}}
	if len(o.Recipe.Programs) > 0 || o.Recipe.Machine != nil {
		err = b.compiler.check(ctx, o.Lock.Go)
	}
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *build) close() { _ = b.spool.Close() }

// tree composes the recipe's packages, steps and programs.
func (b *build) tree(ctx context.Context) (*tree.Tree, error) {
	t := tree.New()
	if err := t.MergeUsr(); err != nil {
		return nil, err
	}
	parts, err := b.Recipe.Parts(b.Lock)
	if err != nil {
		return nil, err
	}
	if err := b.unpack(ctx, "unpack packages", t, parts, everything); err != nil {
		return nil, err
	}
	if err := t.Apply(b.Recipe, b.spool); err != nil {
		return nil, fmt.Errorf("recipe %s: %w", b.Recipe.Name, err)
	}
	for _, p := range b.Recipe.Programs {
		content, err := b.program(ctx, p.Module, p.Package, strings.TrimPrefix(p.Path, "/"))
		if err != nil {
			return nil, err
		}
		if err := t.Put(p.Path, &tree.Node{Type: tar.TypeReg, Mode: 0o755, Content: content}); err != nil {
			return nil, fmt.Errorf("program %w", err)
		}
	}
	return t, nil
}

func everything(string) bool { return true }

// unpack adds the files of parts that wanted accepts, each as a layer.
func (b *build) unpack(ctx context.Context, name string, t *tree.Tree, parts []recipe.Part, wanted func(string) bool) error {
	var total int64
	for _, part := range parts {
		for _, p := range part.Packages {
			total += p.Size
		}
	}
	step := b.Progress.Start(name, total, progress.Bytes)
	for _, part := range parts {
		for _, p := range part.Packages {
			step.Note(p.Name)
			if err := b.unpackOne(ctx, t, p, wanted, step); err != nil {
				step.Fail()
				return fmt.Errorf("unpack %s %s: %w", p.Name, p.Version, err)
			}
		}
		t.NextLayer()
	}
	step.Done("")
	return nil
}

func (b *build) unpackOne(ctx context.Context, t *tree.Tree, p deb.Pin, wanted func(string) bool, step progress.Step) error {
	blob, err := b.Store.Open(ctx, p.Digest())
	if err != nil {
		return err
	}
	defer blob.Close()
	r := progress.Reader(blob, step)
	noted := reading{sbom.Package{Pin: p}}
	err = deb.Read(r, noted.control, func(h *tar.Header, content io.Reader) error {
		content, err := noted.file(h, content)
		if err != nil || !wanted(h.Name) {
			return err
		}
		return t.AddHeader(p.Name, h, content, b.spool)
	})
	if err != nil {
		return err
	}
	b.inventory.packages = append(b.inventory.packages, noted.Package)
	_, err = io.Copy(io.Discard, r) // the store judges the bytes only at their end
	return err
}

// program compiles and spools a Go program that will lie at path.
func (b *build) program(ctx context.Context, module, pkg, path string) (tree.Content, error) {
	step := b.Progress.Start("compile "+pkg, 0, progress.None)
	content, err := b.compile(ctx, module, pkg)
	if err == nil {
		err = b.noteProgram(path, content)
	}
	if err != nil {
		step.Fail()
		return content, err
	}
	step.Done("")
	return content, nil
}

func (b *build) compile(ctx context.Context, module, pkg string) (tree.Content, error) {
	dir, err := os.MkdirTemp(b.TempDir, "holdfast-program-*")
	if err != nil {
		return tree.Content{}, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "program")
	sources, err := b.compiler.build(ctx, module, pkg, out)
	if err != nil {
		return tree.Content{}, err
	}
	b.inventory.sources = append(b.inventory.sources, sources...)
	f, err := os.Open(out)
	if err != nil {
		return tree.Content{}, err
	}
	defer f.Close()
	return b.spool.Add(f)
}
