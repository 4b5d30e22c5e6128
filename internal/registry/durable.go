package registry

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"holdfast/internal/oci"
)

// durable holds an acknowledgement back until what it acknowledges is on the
// disk. The library renames files into place, so a killed process loses
// nothing, but it syncs none of them.
type durable struct {
	http.ResponseWriter
	dir   string
	path  string
	index *sync.Mutex // held while an index is synced: none may give way to an older one
	body  *limited
	log   *slog.Logger
	mute  bool // the library's own body is for another status
	lost  bool // what was named is maybe not on the disk
}

func (d *durable) WriteHeader(status int) {
	switch {
	case d.body.exceeded:
		d.mute = true
		refuseSize(d.ResponseWriter)
		return
	case status == http.StatusCreated:
		if err := d.sync(); err != nil {
			d.log.Error("pushed bytes cannot be synced", "path", d.path, "cause", err)
			d.mute, d.lost, status = true, true, http.StatusInternalServerError
		}
	}
	d.ResponseWriter.WriteHeader(status)
}

func (d *durable) Write(p []byte) (int, error) {
	if d.mute {
		return len(p), nil
	}
	return d.ResponseWriter.Write(p)
}

// sync flushes what was made and the names that lead to it.
func (d *durable) sync() error {
	digest, err := oci.ParseDigest(d.Header().Get("Docker-Content-Digest"))
	if err != nil {
		return err
	}
	repository := filepath.Join(d.dir, filepath.FromSlash(repositoryOf(d.path)))
	blobs := filepath.Join(repository, "blobs", digest.Algorithm())
	if err := syncFile(filepath.Join(blobs, digest.Hex())); err != nil {
		return err
	}
	if err := d.syncIndex(filepath.Join(repository, "index.json")); err != nil {
		return err
	}
	for dir := blobs; dir != d.dir; dir = filepath.Dir(dir) {
		if err := syncFile(dir); err != nil {
			return err
		}
	}
	return syncFile(d.dir)
}

func (d *durable) syncIndex(path string) error {
	d.index.Lock()
	defer d.index.Unlock()
	return keepIndex(path)
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// sweep removes what interrupted pushes left: nobody can resume them, since
// their sessions were in memory. It leaves each repository with an index.
func sweep(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == "_uploads":
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			return fs.SkipDir
		case entry.IsDir() && entry.Name() == "blobs":
			return fs.SkipDir
		case !entry.IsDir() && (strings.HasPrefix(entry.Name(), "index.json.") || strings.HasPrefix(entry.Name(), ".tmp-")):
			return os.Remove(path)
		case !entry.IsDir() && entry.Name() == "index.json":
			return settleIndex(path)
		}
		return nil
	})
}
