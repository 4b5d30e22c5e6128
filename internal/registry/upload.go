package registry

import (
	"fmt"
	"net/http"

	"holdfast/internal/oci"
)

// beginUpload is POST /v2/NAME/blobs/uploads/: a mount (end-11), a blob in one
// request (end-4b), or a session for one in several (end-4a and c).
func (r *Registry) beginUpload(w http.ResponseWriter, q *http.Request, to route) error {
	query := q.URL.Query()
	algorithm := query.Get("digest-algorithm")
	if algorithm != "" && algorithm != "sha256" && algorithm != "sha512" {
		return digestInvalid("digest-algorithm: want sha256 or sha512")
	}
	r.beside()
	if err := r.admitUpload(); err != nil {
		return err
	}
	if err := r.create(to.repository); err != nil {
		return err
	}
	if mount := query.Get("mount"); mount != "" {
		d, err := parseDigest(mount)
		if err != nil {
			return err
		}
		if r.mount(q, to.repository, query.Get("from"), d) {
			created(w, to.repository, "blobs", d)
			return nil
		}
	}
	s, err := r.uploads.begin(to.repository)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer r.uploads.release(s)
	if query.Get("digest") != "" {
		return r.finish(w, q, s)
	}
	s.hash = newHash(algorithm)
	location(w, s)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func location(w http.ResponseWriter, s *upload) {
	w.Header().Set("Location", "/v2/"+s.repository+"/blobs/uploads/"+s.id)
}

// progress says how much of an upload came.
func progress(w http.ResponseWriter, s *upload) {
	location(w, s)
	w.Header().Set("Range", reached(s))
}

// reached is the spec's range of what came; of nothing it has none, and
// clients expect this.
func reached(s *upload) string { return fmt.Sprintf("0-%d", max(0, s.size-1)) }

func created(w http.ResponseWriter, repository, kind string, d oci.Digest) {
	w.Header().Set("Location", "/v2/"+repository+"/"+kind+"/"+string(d))
	w.Header().Set("Docker-Content-Digest", string(d))
	w.WriteHeader(http.StatusCreated)
}

// patchUpload is end-5.
func (r *Registry) patchUpload(w http.ResponseWriter, q *http.Request, to route) error {
	s, err := r.uploads.take(to.repository, to.arg)
	if err != nil {
		return err
	}
	defer r.uploads.release(s)
	if err := r.receive(w, q, s, ""); err != nil {
		return err
	}
	progress(w, s)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// hashName is the algorithm that an upload is hashed by so far.
func hashName(s *upload) string {
	if s.hash != nil && s.hash.Size() == 64 {
		return "sha512"
	}
	return "sha256"
}

// putUpload is end-6.
func (r *Registry) putUpload(w http.ResponseWriter, q *http.Request, to route) error {
	s, err := r.uploads.take(to.repository, to.arg)
	if err != nil {
		return err
	}
	defer r.uploads.release(s)
	return r.finish(w, q, s)
}

// getUpload is end-13.
func (r *Registry) getUpload(w http.ResponseWriter, _ *http.Request, to route) error {
	s, err := r.uploads.take(to.repository, to.arg)
	if err != nil {
		return err
	}
	defer r.uploads.release(s)
	progress(w, s)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// cancelUpload is end-14.
func (r *Registry) cancelUpload(w http.ResponseWriter, _ *http.Request, to route) error {
	s, err := r.uploads.take(to.repository, to.arg)
	if err != nil {
		return err
	}
	defer r.uploads.release(s)
	r.uploads.drop(s)
	w.WriteHeader(http.StatusNoContent)
	return nil
}
