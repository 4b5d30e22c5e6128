package registry

import (
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"

	"holdfast/internal/blob"
	"holdfast/internal/oci"
)

// receive appends the body, of the blob d if that is known yet. A session
// whose bytes cannot be kept is over.
func (r *Registry) receive(w http.ResponseWriter, q *http.Request, s *upload, d oci.Digest) error {
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
	if err := r.room(s.repository, size, r.inAll(d, size)); err != nil {
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
	err := s.append(r.steady(w, q.Body), limit)
	if errors.Is(err, errBrokeOff) {
		return fail(http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "%v", errBrokeOff)
	}
	if asProblem(err) != nil {
		r.uploads.drop(s)
	}
	return err
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

// finish receives the rest of a blob and stores it.
func (r *Registry) finish(w http.ResponseWriter, q *http.Request, s *upload) error {
	d, err := parseDigest(q.URL.Query().Get("digest"))
	if err != nil {
		return err
	}
	if err := r.receive(w, q, s, d); err != nil {
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
	return r.charge(repository, d, size, func() error { return r.keepFile(repository, d, path, size) })
}

func (r *Registry) keepFile(repository string, d oci.Digest, path string, size int64) error {
	if in, err := r.pool.Stat(d); err == nil && (in.Size != size || r.doubt.about(in)) {
		if err := r.settle(r.ctx, d); err != nil && !errors.Is(err, blob.ErrNotFound) {
			return err
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err := r.place(repository, d, path); err != nil {
		return err
	}
	r.sightings.add(d, info) // if another file is d's, that one was not seen
	if r.config.Stored != nil {
		r.config.Stored(d)
	}
	return nil
}

// place gives a verified file its names, as one step to a collection.
func (r *Registry) place(repository string, d oci.Digest, path string) error {
	r.linking.RLock()
	defer r.linking.RUnlock()
	for {
		if err := r.pool.Move(d, path); err != nil {
			return err
		}
		if err := r.hold(repository, d); !errors.Is(err, blob.ErrNotFound) {
			return err
		}
		// What the pool had was found rotten in between: ours takes its place.
	}
}
