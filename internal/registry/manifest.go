package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"holdfast/internal/oci"
	"holdfast/internal/registry/index"
)

func hashed(algorithm string, b []byte) oci.Digest {
	if algorithm == "sha512" {
		sum := sha512.Sum512(b)
		return oci.Digest("sha512:" + hex.EncodeToString(sum[:]))
	}
	sum := sha256.Sum256(b)
	return oci.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// getManifest is end-3.
func (r *Registry) getManifest(w http.ResponseWriter, q *http.Request, to route) error {
	m, err := r.findManifest(q.Context(), to.repository, to.arg, q.Header.Values("Accept"))
	if err != nil {
		return err
	}
	if r.config.Gate != nil {
		if err := r.passes(r.config.Gate.Pull(q.Context(), r.View(to.repository), *m)); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Type", m.MediaType)
	w.Header().Set("Docker-Content-Digest", string(m.Digest))
	w.Header().Set("ETag", `"`+string(m.Digest)+`"`)
	if m.stale {
		// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#warnings
		w.Header().Set("Warning", `299 - "the upstream cannot be asked just now: this is what the tag named before"`)
	}
	http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(m.Body))
	return nil
}

// passes says what a client is told of a Gate's answer.
func (r *Registry) passes(err error) error {
	if err != nil && !errors.Is(err, ErrRefused) {
		r.config.Logger.Error("gate fails", "cause", err)
		return fail(http.StatusForbidden, "DENIED", "the policy cannot be applied just now")
	}
	if err != nil {
		return fail(http.StatusForbidden, "DENIED", "%.500s", err.Error())
	}
	return nil
}

// findManifest gives what a tag or digest names, of the registry itself or of
// a Source. A client that does not take an index gets the image in it that
// it takes, if it asked by tag.
func (r *Registry) findManifest(ctx context.Context, repository, reference string, accept []string) (*Manifest, error) {
	var m *Manifest
	var err error
	switch {
	case isDigest(reference):
		if _, err := parseDigest(reference); err != nil {
			return nil, err
		}
		if m, err = r.byDigest(repository, oci.Digest(reference)); isAbsent(asError(err)) && len(r.config.Sources) > 0 {
			return r.fetchManifest(ctx, repository, reference, "")
		}
		return m, err
	case !tagForm.MatchString(reference):
		return nil, manifestUnknown()
	default:
		m, err = r.byTag(ctx, repository, reference)
	}
	if err != nil || !isIndexType(m.MediaType) || accepts(accept, m.MediaType) {
		return m, err
	}
	return r.instead(repository, m, accept), nil
}

// asError gives errors the problem that they are, so that isAbsent knows them.
func asError(err error) error {
	if p := asProblem(err); p != nil {
		return p
	}
	return err
}

// byTag asks the Sources first, which know whether a tag has moved, and serves
// what the registry has when they cannot be asked.
func (r *Registry) byTag(ctx context.Context, repository, tag string) (*Manifest, error) {
	stale := false
	own, err := r.tagged(repository, tag)
	if err != nil && !isAbsent(asError(err)) {
		return nil, err
	}
	if len(r.config.Sources) > 0 {
		m, theirs := r.fetchManifest(ctx, repository, tag, own.Digest)
		if theirs == nil {
			return m, nil
		}
		stale = !isAbsent(theirs)
		if err != nil && stale {
			return nil, theirs
		}
	}
	if err != nil {
		return nil, err
	}
	m, err := r.read(repository, own, tag)
	if err == nil {
		m.stale = stale
	}
	return m, err
}

// tagged finds a tag in a repository, which may have to be imported first.
func (r *Registry) tagged(repository, tag string) (index.Entry, error) {
	if e, err := r.index.Tagged(repository, tag); err == nil && !r.config.ReadOnly {
		return e, nil
	}
	if err := r.exists(repository); err != nil {
		return index.Entry{}, err
	}
	return r.index.Tagged(repository, tag)
}

func (r *Registry) byDigest(repository string, d oci.Digest) (*Manifest, error) {
	if err := r.exists(repository); err != nil {
		return nil, err
	}
	e, err := r.index.Manifest(repository, d)
	if err != nil {
		return nil, err
	}
	return r.read(repository, e, "")
}

// read reads and checks a manifest. One that rotted goes to quarantine.
func (r *Registry) read(repository string, e index.Entry, tag string) (*Manifest, error) {
	f, info, err := r.open(repository, e.Digest)
	if isAbsent(err) {
		return nil, manifestUnknown()
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	body := make([]byte, info.Size())
	if _, err := io.ReadFull(f, body); err != nil {
		return nil, err
	}
	if r.pool != nil && hashed(e.Digest.Algorithm(), body) != e.Digest {
		r.config.Logger.Error("a manifest has rotted", "repository", repository, "digest", e.Digest)
		return nil, errors.Join(manifestUnknown(), r.pool.Quarantine(e.Digest))
	}
	return &Manifest{Digest: e.Digest, MediaType: e.MediaType, Body: body, Tag: tag}, nil
}

// accepts reads Accept headers; a client that sends none takes everything.
func accepts(accept []string, mediaType string) bool {
	for _, line := range accept {
		for each := range strings.SplitSeq(line, ",") {
			t, _, _ := strings.Cut(each, ";")
			if t = strings.ToLower(strings.TrimSpace(t)); t == mediaType || t == "*/*" || t == "application/*" {
				return true
			}
		}
	}
	return len(accept) == 0
}

// instead looks in an index for a manifest that the client takes.
func (r *Registry) instead(repository string, m *Manifest, accept []string) *Manifest {
	list, err := parseDocument(m.MediaType, m.Body)
	if err != nil {
		return m
	}
	for _, d := range list.Manifests {
		if !accepts(accept, d.MediaType) {
			continue
		}
		if image, err := r.byDigest(repository, d.Digest); err == nil {
			image.Tag = m.Tag
			return image
		}
	}
	return m
}

// putManifest is end-7.
func (r *Registry) putManifest(w http.ResponseWriter, q *http.Request, to route) error {
	m, tags, err := r.readManifest(q, to.arg)
	if err != nil {
		return err
	}
	parsed, err := parseDocument(q.Header.Get("Content-Type"), m.Body)
	if err != nil {
		return err
	}
	m.MediaType = parsed.MediaType
	if err := r.room(to.repository, int64(len(m.Body))); err != nil {
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
func (r *Registry) readManifest(q *http.Request, reference string) (*Manifest, []string, error) {
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
	body, err := r.readBody(q)
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

func (r *Registry) readBody(q *http.Request) ([]byte, error) {
	limit := r.config.MaxManifest
	if q.ContentLength > limit {
		return nil, tooLarge("manifest", limit)
	}
	if q.ContentLength < 0 || q.ContentLength > bigManifest {
		select {
		case r.big <- struct{}{}:
			defer func() { <-r.big }()
		case <-q.Context().Done():
			return nil, q.Context().Err()
		}
	}
	body, err := io.ReadAll(io.LimitReader(q.Body, limit+1))
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

// View is the repository for those who decide about it.
func (r *Registry) View(repository string) View { return view{r, repository} }

type view struct {
	registry   *Registry
	repository string
}

func (v view) Repository() string { return v.repository }

func (v view) Manifest(ctx context.Context, reference string) (m Manifest, err error) {
	var e index.Entry
	if d, wrong := oci.ParseDigest(reference); wrong == nil {
		e, err = v.registry.index.Manifest(v.repository, d)
	} else {
		e, err = v.registry.index.Tagged(v.repository, reference)
	}
	if err == nil {
		var found *Manifest
		if found, err = v.registry.read(v.repository, e, ""); err == nil {
			return *found, nil
		}
	}
	return m, v.unknown(reference, err)
}

func (v view) unknown(what string, err error) error {
	if isAbsent(asError(err)) {
		return fmt.Errorf("%s in %s: %w", what, v.repository, ErrUnknown)
	}
	return err
}

func (v view) Blob(ctx context.Context, d oci.Digest) (io.ReadCloser, error) {
	f, _, err := v.registry.open(v.repository, d)
	if err != nil {
		return nil, v.unknown(string(d), err)
	}
	if v.registry.pool == nil {
		return checked(d, f)
	}
	_ = f.Close()
	return v.registry.pool.Open(ctx, d)
}

// Referrers gives up to maxReferrers of them.
func (v view) Referrers(_ context.Context, d oci.Digest, artifactType string) (list []Descriptor, err error) {
	err = v.registry.index.Referrers(v.repository, d, "", func(e index.Entry) bool {
		if artifactType == "" || e.ArtifactType == artifactType {
			list = append(list, describe(e))
		}
		return len(list) < maxReferrers
	})
	if errors.Is(err, index.ErrNotFound) {
		return nil, nil
	}
	return list, err
}

const maxReferrers = 10_000

func describe(e index.Entry) Descriptor {
	return Descriptor{MediaType: e.MediaType, Digest: e.Digest, Size: e.Size, ArtifactType: e.ArtifactType, Annotations: e.Annotations}
}
