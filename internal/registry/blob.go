package registry

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"time"

	"holdfast/internal/blob"
	"holdfast/internal/oci"
)

// getBlob is end-2. A blob that the registry lacks is served while it comes
// from a Source.
func (r *Registry) getBlob(w http.ResponseWriter, q *http.Request, to route) error {
	d, err := parseDigest(to.arg)
	if err != nil {
		return err
	}
	if err := r.passesByDigest(q.Context(), to.repository, d); err != nil {
		return err
	}
	served, err := r.serveStored(w, q, to.repository, d)
	if served || !isAbsent(err) || len(r.config.Sources) == 0 {
		return err
	}
	return r.serveFetched(w, q, to.repository, d)
}

// passesByDigest asks the Gate about a blob that is a manifest, too: it is the
// same bytes.
func (r *Registry) passesByDigest(ctx context.Context, repository string, d oci.Digest) error {
	if r.config.Gate == nil {
		return nil
	}
	m, err := r.byDigest(repository, d)
	if isAbsent(asError(err)) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.passes(r.config.Gate.Pull(ctx, r.pulled(repository), *m))
}

func isAbsent(err error) bool {
	var p *problem
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, blob.ErrNotFound) ||
		errors.As(err, &p) && p.status == http.StatusNotFound
}

// serveStored serves a blob that the repository has.
func (r *Registry) serveStored(w http.ResponseWriter, q *http.Request, repository string, d oci.Digest) (bool, error) {
	f, info, err := r.open(repository, d)
	if err != nil {
		if exists := r.exists(repository); exists != nil {
			return false, exists
		}
		return false, err
	}
	defer f.Close()
	if r.isStreamed(q, d, info) {
		r.stream(w, q, d, f, info)
		return true, nil
	}
	if err := r.check(q.Context(), d, f, info); err != nil {
		return false, err
	}
	if q.Method == http.MethodHead {
		r.spare(repository, d)
	}
	blobHeader(w, d)
	http.ServeContent(w, q, "", time.Time{}, f)
	return true, nil
}

// spare keeps a blob from being collected that a client asked for: it will
// not push what it found here, and name it in a manifest soon.
func (r *Registry) spare(repository string, d oci.Digest) {
	if r.pool == nil {
		return
	}
	if _, err := r.keep(repository, d); err != nil {
		r.config.Logger.Debug("blob cannot be kept", "digest", d, "cause", err)
	}
}

func blobHeader(w http.ResponseWriter, d oci.Digest) {
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Docker-Content-Digest", string(d))
	h.Set("ETag", `"`+string(d)+`"`)
}

// deleteBlob is end-10. The bytes stay in the pool until they are collected.
func (r *Registry) deleteBlob(w http.ResponseWriter, _ *http.Request, to route) error {
	d, err := parseDigest(to.arg)
	if err != nil {
		return err
	}
	if err := r.exists(to.repository); err != nil {
		return err
	}
	f, info, err := r.open(to.repository, d)
	if err != nil {
		return err
	}
	_ = f.Close()
	if err := os.Remove(r.link(to.repository, d)); err != nil {
		return err // another request may have been quicker: then it has counted it
	}
	r.usage.freed(to.repository, info.Size())
	w.WriteHeader(http.StatusAccepted)
	return nil
}
