package registry

import (
	"net/http"

	"holdfast/internal/oci"
)

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
	if err == nil {
		err = r.checkPooled(q.Context(), d) // the client will not send it again
	}
	return err == nil && r.charge(to, d, size, func() error { return r.share(to, d) }) == nil
}

// mountAnonymous gives the repository a blob that any has. Where some may not
// see what others have, knowing a digest is not enough.
func (r *Registry) mountAnonymous(q *http.Request, to string, d oci.Digest) bool {
	in, err := r.pool.Stat(d)
	if err == nil && r.doubt.about(in) {
		err = r.settle(q.Context(), d)
	}
	if err == nil {
		err = r.checkPooled(q.Context(), d)
	}
	return err == nil && r.charge(to, d, in.Size, func() error { return r.share(to, d) }) == nil
}
