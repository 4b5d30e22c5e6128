package registry

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/atomicfile"
	"holdfast/internal/blob/pool"
	"holdfast/internal/oci"
)

// syncers is how many files are synced at a time: the file system puts them
// into one commit of its journal.
const syncers = 8

// sync puts a manifest's own bytes, all blobs that it names and the names that
// lead to them on the disk. What is there already costs a system call.
func (r *Registry) sync(repository string, d oci.Digest, named []descriptor) error {
	var g errgroup.Group
	g.SetLimit(syncers)
	dirs := map[string]bool{}
	for _, each := range append([]descriptor{{Digest: d}}, named...) {
		path := r.link(repository, each.Digest)
		dirs[filepath.Dir(path)] = true
		dirs[filepath.Join(r.config.Dir, pool.Dir, each.Digest.Algorithm())] = true
		g.Go(func() error { return syncFile(path) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for dir := range dirs {
		g.Go(func() error { return r.syncDir(dir) })
	}
	return g.Wait()
}

// syncDir makes the names in a folder last and, the first time, those of the
// folders that lead to it.
func (r *Registry) syncDir(dir string) error {
	if err := atomicfile.SyncDir(dir); err != nil {
		return err
	}
	if _, known := r.rooted.Load(dir); known || dir == r.config.Dir {
		return nil
	}
	for above := filepath.Dir(dir); ; above = filepath.Dir(above) {
		if err := atomicfile.SyncDir(above); err != nil {
			return err
		}
		if above == r.config.Dir {
			r.rooted.Store(dir, nil)
			return nil
		}
	}
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
