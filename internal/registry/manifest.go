package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
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
		if err := r.passes(r.config.Gate.Pull(q.Context(), r.pulled(to.repository), *m)); err != nil {
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
