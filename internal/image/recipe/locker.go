package recipe

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"holdfast/internal/deb"
)

// A Locker turns recipes into locks.
type Locker struct {
	Archive *deb.Archive
	// Go is the toolchain for programs, as "go1.26.8"; by default the one
	// that built this program.
	Go string
}

// Lock resolves r against the archive as it is now. Locking twice without a
// change of recipe or archive gives the same lock.
func (k Locker) Lock(ctx context.Context, r *Recipe) (*Lock, error) {
	digest, err := r.Digest()
	if err != nil {
		return nil, err
	}
	u, err := k.Archive.Indexes(ctx, r.Suite, r.Architecture)
	if err != nil {
		return nil, err
	}
	l := &Lock{Version: lockVersion, Recipe: digest, Suite: r.Suite, Architecture: r.Architecture,
		Go: cmp.Or(k.Go, runtime.Version())}
	l.addIndexes(u.Indexes)
	if l.Packages, err = tree(u, r); err == nil && r.Machine != nil {
		l.Boot, err = boot(u, r)
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Lock) addIndexes(indexes []*deb.Index) {
	for _, x := range indexes {
		l.Indexes = append(l.Indexes, Index{Suite: x.Suite, Path: x.Path, SHA256: x.Digest.Hex()})
		if x.Date.After(l.Date) {
			l.Date = x.Date
		}
	}
}

// tree resolves what is unpacked into the tree.
func tree(u *deb.Universe, r *Recipe) ([]deb.Pin, error) {
	packages, err := u.Resolve(deb.Request{Packages: r.names(r.Packages), Exclude: r.names(r.Exclude)})
	if err != nil {
		return nil, err
	}
	return pins(packages)
}

// boot finds kernel and stub. Of their dependencies nothing is wanted: they
// are for making an initramfs on the machine itself.
func boot(u *deb.Universe, r *Recipe) ([]deb.Pin, error) {
	kernel, err := u.Newest(r.name(r.Machine.Kernel))
	if err == nil {
		kernel, err = realKernel(u, kernel)
	}
	if err != nil {
		return nil, fmt.Errorf("machine: kernel: %w", err)
	}
	stub, err := u.Newest(r.name(r.Machine.Stub))
	if err != nil {
		return nil, fmt.Errorf("machine: stub: %w", err)
	}
	return pins([]*deb.Package{kernel, stub})
}

// versionedKernel is a package that holds a kernel: linux-image-6.1.0-41-…
var versionedKernel = regexp.MustCompile(`^linux-image-[0-9]`)

// realKernel follows a metapackage such as linux-image-cloud-amd64 to the
// kernel it depends on.
func realKernel(u *deb.Universe, meta *deb.Package) (*deb.Package, error) {
	if versionedKernel.MatchString(meta.Name) {
		return meta, nil
	}
	depends, err := u.Depends(meta)
	if err != nil {
		return nil, err
	}
	for _, alternatives := range depends {
		if want := alternatives[0]; versionedKernel.MatchString(want.Name) {
			return u.Best(want)
		}
	}
	return nil, fmt.Errorf("%s depends on no linux-image-VERSION", meta)
}

func pins(packages []*deb.Package) ([]deb.Pin, error) {
	list := make([]deb.Pin, len(packages))
	for i, p := range packages {
		var err error
		if list[i], err = p.Pin(); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(list, func(a, b deb.Pin) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}
