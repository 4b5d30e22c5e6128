// Package components builds the programs of a cluster's nodes: Kubernetes,
// etcd, containerd and CNI plugins. What runs in pods is built by its recipe.
//
// Each comes from a Go module below kube/ that pins it by version and hash,
// and is built here, once: what it was built from names the folder that it is
// kept in, so the same sources are never compiled twice, half a build is never
// seen, and two builds at once make one.
package components

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"holdfast/internal/atomicfile"
	"holdfast/internal/gocmd"
	"holdfast/internal/progress"
)

// Config says what to build from, and where to keep it.
type Config struct {
	Source string // the folder kube of a checkout
	Dir    string // keeps what was built
	// Only names the modules to build; by default all that a cluster needs
	// from the start.
	Only []string

	Go       string            // the go command; by default the one in PATH
	Arch     string            // as Go calls it; by default this machine's
	Progress progress.Reporter // by default silent
}

// A Program is one file that was built. It may be collected when it was not
// asked for in a week: whoever runs it for longer makes a link to it.
type Program struct {
	Name    string // of the file
	Path    string
	Module  string // "kube", "containerd", "cni" or "gvisor"
	Version string // upstream's, as "v1.36.3"
}

// A Set is what Build gives.
type Set []Program

// Path is where the program called name is, or "".
func (s Set) Path(name string) string {
	for _, p := range s {
		if p.Name == name {
			return p.Path
		}
	}
	return ""
}

// Of are the programs of a module.
func (s Set) Of(module string) Set {
	return slices.DeleteFunc(slices.Clone(s), func(p Program) bool { return p.Module != module })
}

// ErrNoSources is matched when there is no checkout to build from.
var ErrNoSources = errors.New("the sources of the cluster's programs are not there")

// Build gives the programs of a cluster, and builds those that are not there.
func Build(ctx context.Context, cfg Config) (Set, error) {
	if _, err := os.Stat(filepath.Join(cfg.Source, "go.mod")); err != nil {
		return nil, fmt.Errorf("%s: %w", cfg.Source, ErrNoSources)
	}
	chosen, err := choose(cfg.Only)
	if err != nil {
		return nil, err
	}
	return newBuilder(cfg).all(ctx, chosen)
}

func newBuilder(cfg Config) *builder {
	cfg.Progress = progress.Or(cfg.Progress)
	return &builder{Config: cfg, golang: gocmd.Go{Tool: cmp.Or(cfg.Go, "go"), Arch: cmp.Or(cfg.Arch, runtime.GOARCH)}}
}

// A builder is one call of Build.
type builder struct {
	Config
	golang  gocmd.Go
	version string // of Go
}

func (b *builder) all(ctx context.Context, chosen []module) (set Set, err error) {
	if b.version, err = b.golang.Version(ctx, b.Source); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(b.Dir, 0o755); err != nil {
		return nil, err
	}
	for _, m := range chosen {
		programs, err := b.module(ctx, m)
		if err != nil {
			return nil, fmt.Errorf("build %s: %w", m.name, err)
		}
		set = append(set, programs...)
	}
	return set, nil
}

// module gives the programs of one module.
func (b *builder) module(ctx context.Context, m module) (Set, error) {
	r, err := b.recipe(m)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.Dir, m.name+"-"+r.digest)
	if !used(dir) {
		if err := b.make(ctx, r, dir); err != nil {
			return nil, err
		}
	}
	return r.programs(dir)
}

// make builds what r says into dir, unless another does so first.
func (b *builder) make(ctx context.Context, r *recipe, dir string) error {
	unlock, err := b.turn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = unlock() }()
	if used(dir) {
		return nil
	}
	b.collect(r.name)
	step := b.Progress.Start("build "+r.title(), 0, progress.Items)
	if err := b.fill(ctx, r, dir, step); err != nil {
		step.Fail()
		return explain(err)
	}
	step.Done("kept in " + dir)
	return nil
}

// turn waits until no other process builds.
func (b *builder) turn(ctx context.Context) (func() error, error) {
	path := filepath.Join(b.Dir, ".lock")
	if f, err := atomicfile.TryLock(path); f != nil || err != nil {
		return f.Close, err
	}
	step := b.Progress.Start("wait for another build of the cluster's programs", 0, progress.None)
	unlock, err := atomicfile.Lock(ctx, path)
	if err != nil {
		step.Fail()
		return nil, err
	}
	step.Done("")
	return unlock, nil
}

// fill builds beside dir, and gives that its name when it is whole.
func (b *builder) fill(ctx context.Context, r *recipe, dir string, step progress.Step) error {
	tmp, err := os.MkdirTemp(b.Dir, unfinished)
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if len(r.packages) > 0 {
		if err := b.golang.Build(ctx, r.dir, step, append(r.flags, append([]string{"-o", tmp + "/"}, r.packages...)...)...); err != nil {
			return err
		}
	}
	for _, pkg := range r.tests {
		if err := b.golang.BuildTest(ctx, r.dir, step, append(r.flags, "-o", filepath.Join(tmp, testName(pkg)), pkg)...); err != nil {
			return err
		}
	}
	if err := settle(tmp); err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}

// settle makes all that is in dir outlive a power cut.
func settle(dir string) error {
	return errors.Join(os.Chmod(dir, 0o755), filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return atomicfile.SyncDir(path)
	}))
}
