package registry

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/atomicfile"
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
		dirs[filepath.Dir(path)], dirs[filepath.Dir(filepath.Dir(path))] = true, true
		dirs[filepath.Join(r.config.Dir, ".blobs", each.Digest.Algorithm())] = true
		g.Go(func() error { return syncFile(path) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for dir := r.folder(repository); ; dir = filepath.Dir(dir) {
		dirs[dir] = true
		if dir == r.config.Dir {
			break
		}
	}
	for dir := range dirs {
		g.Go(func() error { return atomicfile.SyncDir(dir) })
	}
	return g.Wait()
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
