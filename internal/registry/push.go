package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"holdfast/internal/oci"
)

// putManifest is end-7.
func (r *Registry) putManifest(w http.ResponseWriter, q *http.Request, to route) error {
	m, tags, err := r.readManifest(w, q, to.arg)
	if err != nil {
		return err
	}
	parsed, err := parseDocument(q.Header.Get("Content-Type"), m.Body)
	if err != nil {
		return err
	}
	m.MediaType = parsed.MediaType
	if err := r.room(to.repository, int64(len(m.Body)), int64(len(m.Body))); err != nil {
		return err
	}
	if err := r.create(to.repository); err != nil {
		return err
	}
	if err := r.mayPush(q.Context(), to.repository, *m, tags); err != nil {
		return err
	}
	if err := r.commit(to.repository, m, parsed, tags, parsed.named()); err != nil {
		return err
	}
	if parsed.Subject != nil {
		w.Header().Set("OCI-Subject", string(parsed.Subject.Digest))
	}
	for _, tag := range q.URL.Query()["tag"] {
		w.Header().Add("OCI-Tag", tag)
	}
	created(w, to.repository, "manifests", m.Digest)
	return nil
}

// mayPush asks about each of the tags that a push sets.
func (r *Registry) mayPush(ctx context.Context, repository string, m Manifest, tags []string) error {
	if r.config.Gate == nil {
		return nil
	}
	if len(tags) == 0 {
		return r.passes(r.config.Gate.Push(ctx, r.View(repository), m))
	}
	for _, m.Tag = range tags {
		if err := r.passes(r.config.Gate.Push(ctx, r.View(repository), m)); err != nil {
			return err
		}
	}
	return nil
}

// maxTagsAtOnce bounds the tags of one push.
const maxTagsAtOnce = 100

// readManifest reads the body of a push, and checks it against the reference.
func (r *Registry) readManifest(w http.ResponseWriter, q *http.Request, reference string) (*Manifest, []string, error) {
	tags := q.URL.Query()["tag"]
	algorithm := "sha256"
	switch {
	case len(tags) > maxTagsAtOnce:
		return nil, nil, fail(http.StatusRequestURITooLong, "UNSUPPORTED", "more than %d tags at once", maxTagsAtOnce)
	case isDigest(reference):
		d, err := parseDigest(reference)
		if err != nil {
			return nil, nil, err
		}
		algorithm = d.Algorithm()
	case len(tags) > 0:
		return nil, nil, fail(http.StatusBadRequest, "UNSUPPORTED", "tag parameters are for a push by digest")
	default:
		tags = []string{reference}
	}
	for _, tag := range tags {
		if !tagForm.MatchString(tag) {
			return nil, nil, manifestInvalid("tag %.200q is none", tag)
		}
	}
	body, err := r.readBody(w, q)
	if err != nil {
		return nil, nil, err
	}
	m := &Manifest{Digest: hashed(algorithm, body), Body: body}
	if !isDigest(reference) {
		m.Tag = reference
	} else if string(m.Digest) != reference {
		return nil, nil, digestInvalid("provided digest did not match uploaded content, which is " + string(m.Digest))
	}
	return m, tags, nil
}

func (r *Registry) readBody(w http.ResponseWriter, q *http.Request) (body []byte, err error) {
	limit, in := r.config.MaxManifest, r.steady(w, q.Body)
	if q.ContentLength > limit {
		return nil, tooLarge("manifest", limit)
	}
	if q.ContentLength < 0 || q.ContentLength > bigManifest {
		select {
		case r.big <- struct{}{}:
			defer func() { <-r.big }()
			in = q.Body // whose time is bounded as a whole
			out := http.NewResponseController(w)
			_ = out.SetReadDeadline(time.Now().Add(r.slowest)) // where it can be set
			defer func() {
				if err == nil {
					_ = out.SetReadDeadline(time.Time{})
				}
			}()
		case <-q.Context().Done():
			return nil, q.Context().Err()
		}
	}
	body, err = io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return nil, manifestInvalid("the body broke off")
	}
	if int64(len(body)) > limit {
		return nil, tooLarge("manifest", limit)
	}
	return body, nil
}

// commit stores a manifest whose body is right, once the repository has what
// it must have first. When it returns, all that is on the disk for good.
func (r *Registry) commit(repository string, m *Manifest, parsed *document, tags []string, needed []descriptor) error {
	r.committing.RLock()
	defer r.committing.RUnlock()
	for _, d := range needed {
		if _, err := r.keep(repository, d.Digest); isAbsent(err) {
			return fail(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "manifest references %s, which is unknown to the repository", d.Digest)
		} else if err != nil {
			return err
		}
	}
	if err := r.storeBytes(repository, m.Digest, m.Body); err != nil {
		return err
	}
	if err := r.sync(repository, m.Digest, needed); err != nil {
		return err
	}
	if err := r.index.Put(repository, parsed.entry(m.Digest, int64(len(m.Body))), tags...); err != nil {
		return err
	}
	r.export()
	return nil
}

// storeBytes makes bytes that are d a blob of the repository.
func (r *Registry) storeBytes(repository string, d oci.Digest, body []byte) error {
	f, err := os.CreateTemp(r.uploads.dir, "bytes-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(body)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return r.store(repository, d, f.Name(), int64(len(body)))
}

// deleteManifest is end-9.
func (r *Registry) deleteManifest(w http.ResponseWriter, _ *http.Request, to route) error {
	if err := r.exists(to.repository); err != nil {
		return err
	}
	var err error
	switch d, wrong := oci.ParseDigest(to.arg); {
	case wrong == nil:
		err = r.index.Delete(to.repository, d)
	case isDigest(to.arg):
		return digestInvalid(wrong.Error())
	default:
		err = r.index.Untag(to.repository, to.arg)
	}
	if err != nil {
		return err
	}
	r.export()
	w.WriteHeader(http.StatusAccepted)
	return nil
}
