package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"

	"holdfast/internal/blob"
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

// mount gives the repository a blob of another one that the client may pull
// from. Whatever is in the way makes it an ordinary upload.
func (r *Registry) mount(q *http.Request, to, from string, d oci.Digest) bool {
	if from == "" && r.config.Access == nil {
		return r.mountAnonymous(q, to, d)
	}
	if !validName(from) || r.allow(q, from, Pull) != nil || r.exists(from) != nil {
		return false
	}
	size, err := r.keep(from, d)
	if err != nil || r.charge(to, d, size) != nil {
		return false
	}
	return r.hold(to, d) == nil
}

// mountAnonymous gives the repository a blob that any has. Where some may not
// see what others have, knowing a digest is not enough.
func (r *Registry) mountAnonymous(q *http.Request, to string, d oci.Digest) bool {
	in, err := r.pool.Stat(d)
	if err == nil && r.doubt.about(in) {
		err = r.settle(q.Context(), d)
	}
	return err == nil && r.charge(to, d, in.Size) == nil && r.hold(to, d) == nil
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
	if err := r.receive(q, s, ""); err != nil {
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

// receive appends the body, of the blob d if that is known yet. A session
// whose bytes cannot be kept is over.
func (r *Registry) receive(q *http.Request, s *upload, d oci.Digest) error {
	limit := r.config.MaxBlob
	if q.ContentLength > limit-s.size {
		r.uploads.drop(s)
		return tooLarge("blob", limit)
	}
	if !inOrder(q, s) {
		return fail(http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", "the next byte is number %d", s.size).
			with("Range", reached(s)).with("Location", "/v2/"+s.repository+"/blobs/uploads/"+s.id)
	}
	size := s.size + max(0, q.ContentLength)
	if d != "" && r.has(s.repository, d) {
		size = 0
	}
	if err := r.room(s.repository, size); err != nil {
		r.uploads.drop(s)
		return err
	}
	if s.size == 0 && d != "" {
		s.hash = newHash(d.Algorithm())
	}
	if err := s.rehash(hashName(s)); err != nil {
		return err
	}
	if q.ContentLength == 0 {
		return nil
	}
	err := s.append(q.Body, limit)
	if p := asProblem(err); p != nil {
		r.uploads.drop(s)
		return p
	}
	if err != nil {
		return fail(http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "the body broke off")
	}
	return nil
}

// inOrder says whether a chunk begins where the last one ended, and is as
// long as it says.
func inOrder(q *http.Request, s *upload) bool {
	chunk := q.Header.Get("Content-Range")
	if chunk == "" {
		return true
	}
	from, to, ok := parseRange(chunk)
	return ok && from == s.size && (q.ContentLength < 0 || to-from+1 == q.ContentLength)
}

// parseRange reads the spec's form of Content-Range, both ends inclusive.
func parseRange(chunk string) (from, to int64, ok bool) {
	a, b, ok := strings.Cut(chunk, "-")
	if !ok {
		return 0, 0, false
	}
	first, err := strconv.ParseUint(a, 10, 63)
	last, err2 := strconv.ParseUint(b, 10, 63)
	return int64(first), int64(last), errors.Join(err, err2) == nil && first <= last
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

// finish receives the rest of a blob and stores it.
func (r *Registry) finish(w http.ResponseWriter, q *http.Request, s *upload) error {
	d, err := parseDigest(q.URL.Query().Get("digest"))
	if err != nil {
		return err
	}
	if err := r.receive(q, s, d); err != nil {
		return err
	}
	defer r.uploads.drop(s)
	got, err := s.digest(d.Algorithm())
	if err != nil {
		return err
	}
	if got != d {
		return digestInvalid("provided digest did not match uploaded content, which is " + string(got))
	}
	if err := r.store(s.repository, d, s.path, s.size); err != nil {
		return err
	}
	created(w, s.repository, "blobs", d)
	return nil
}

// store makes the verified file at path, empty blobs may have none, a blob of
// the pool and of the repository.
func (r *Registry) store(repository string, d oci.Digest, path string, size int64) error {
	if size == 0 {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			return err
		}
	}
	if err := r.charge(repository, d, size); err != nil {
		return err
	}
	if in, err := r.pool.Stat(d); err == nil && r.doubt.about(in) {
		if err := r.settle(r.ctx, d); err != nil && !errors.Is(err, blob.ErrNotFound) {
			return err
		}
	}
	for {
		if err := r.pool.Add(d, path); err != nil {
			return err
		}
		err := r.hold(repository, d)
		if errors.Is(err, blob.ErrNotFound) { // collected in between
			continue
		}
		if err == nil && r.config.Stored != nil {
			r.config.Stored(d)
		}
		return err
	}
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
	if err := os.Remove(r.link(to.repository, d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r.usage.freed(to.repository, info.Size())
	w.WriteHeader(http.StatusAccepted)
	return nil
}
