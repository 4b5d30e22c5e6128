package registry

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"holdfast/internal/oci"
)

// durable holds an acknowledgement back until what it acknowledges is on the
// disk. The library renames files into place, so a killed process loses
// nothing, but it syncs none of them.
type durable struct {
	http.ResponseWriter
	dir  string
	path string
	body *limited
	log  *slog.Logger
	mute bool // the library's own body is for another status
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
			d.mute, status = true, http.StatusInternalServerError
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

// sync flushes the blob that was made and the names that lead to it.
func (d *durable) sync() error {
	digest, err := oci.ParseDigest(d.Header().Get("Docker-Content-Digest"))
	if err != nil {
		return err
	}
	repository := filepath.Join(d.dir, filepath.FromSlash(repositoryOf(d.path)))
	blobs := filepath.Join(repository, "blobs", digest.Algorithm())
	files := []string{filepath.Join(blobs, digest.Hex()), filepath.Join(repository, "index.json"), filepath.Join(repository, "oci-layout")}
	for dir := blobs; dir != d.dir; dir = filepath.Dir(dir) {
		files = append(files, dir)
	}
	files = append(files, d.dir)
	for _, file := range files {
		if err := syncFile(file); err != nil {
			return err
		}
	}
	return nil
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// sweep removes what interrupted pushes left: nobody can resume them, since
// their sessions were in memory.
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
		}
		return nil
	})
}
