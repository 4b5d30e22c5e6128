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
	"strings"

	"holdfast/internal/blob"
	"holdfast/internal/blob/derived"
	"holdfast/internal/deb"
	"holdfast/internal/gocmd"
	"holdfast/internal/image/recipe"
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

	// Derived keeps what is made of packages and programs for builds to come.
	// It changes no byte of an image. By default nothing is kept.
	Derived *derived.Cache

	Go       string            // the go command; by default the one in PATH
	TempDir  string            // by default the system's
	Progress progress.Reporter // by default silent
}

// A build is what all images have in common while they are made.
type build struct {
	Options
	compiler  compiler
	spool     *tree.Spool
	kept      *kept
	inventory inventory
}

// apart is the same build with an inventory of its own, for work that goes on
// beside other work; join adds what it found.
func (b *build) apart() *build {
	one := *b
	one.inventory = inventory{}
	return &one
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
	b := &build{Options: o, spool: spool, kept: &kept{}, compiler: compiler{
		Go: gocmd.Go{Tool: cmp.Or(o.Go, "go"), Arch: o.Lock.Architecture}, dir: o.Recipe.Dir(), temp: o.TempDir, version: o.Lock.Go,
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

func (b *build) close() {
	_ = b.spool.Close()
	b.kept.close()
}

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
		if err := t.Put(p.Path, &tree.Node{Type: tar.TypeReg, Mode: cmp.Or(uint32(p.Mode), 0o755), Content: content}); err != nil {
			return nil, fmt.Errorf("program %w", err)
		}
	}
	return t, nil
}

// program compiles and spools a Go program that will lie at path.
func (b *build) program(ctx context.Context, module, pkg, path string) (tree.Content, error) {
	step := b.Progress.Start("compile "+nameOf(module, pkg), 0, progress.None)
	content, err := b.compile(ctx, module, pkg)
	if err != nil {
		err = fmt.Errorf("program %s: %w", pkg, err)
	} else {
		err = b.noteProgram(path, content)
	}
	if err != nil {
		step.Fail()
		return content, err
	}
	step.Done("")
	return content, nil
}

// nameOf is what a program is called while it is compiled.
func nameOf(module, pkg string) string {
	if pkg == "." {
		return module
	}
	return pkg
}
