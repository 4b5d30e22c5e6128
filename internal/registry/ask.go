package registry

import (
	"context"
	"fmt"

	"holdfast/internal/blob"
	"holdfast/internal/oci"
)

// asked is a manifest that a Source is asked for.
type asked struct {
	over chan struct{}
	m    *Manifest
	err  error
}

// fetchManifest asks the Sources for a manifest and keeps it. Many who ask at
// once cause one question.
func (r *Registry) fetchManifest(ctx context.Context, repository, reference string, have oci.Digest) (*Manifest, error) {
	if r.config.ReadOnly {
		return nil, manifestUnknown()
	}
	key := repository + " " + reference
	r.fetches.mu.Lock()
	a := r.fetches.manifests[key]
	if a == nil {
		a = &asked{over: make(chan struct{})}
		if r.fetches.manifests == nil {
			r.fetches.manifests = map[string]*asked{}
		}
		r.fetches.manifests[key] = a
		r.background.Go(func() {
			a.m, a.err = r.askSources(repository, reference, have)
			r.fetches.mu.Lock()
			delete(r.fetches.manifests, key)
			r.fetches.mu.Unlock()
			close(a.over)
		})
	}
	r.fetches.mu.Unlock()
	select {
	case <-a.over:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if a.err != nil {
		return nil, unreachable(a.err, manifestUnknown())
	}
	return a.m, nil
}

func (r *Registry) askSources(repository, reference string, have oci.Digest) (*Manifest, error) {
	last := fmt.Errorf("%s: %w", reference, ErrUnknown)
	for _, s := range r.config.Sources {
		m, err := s.Manifest(r.ctx, repository, reference, have)
		if err != nil {
			last = prefer(last, err)
			continue
		}
		return r.keepManifest(repository, reference, have, m)
	}
	return nil, last
}

// keepManifest checks what a Source gave and stores it, unless it is what the
// registry has.
func (r *Registry) keepManifest(repository, reference string, have oci.Digest, m Manifest) (*Manifest, error) {
	if m.Body == nil && have != "" && m.Digest == have {
		e, err := r.index.Manifest(repository, have)
		if err != nil {
			return nil, err
		}
		return r.read(repository, e, reference)
	}
	algorithm, tags := "sha256", []string{reference}
	if d, err := oci.ParseDigest(reference); err == nil {
		algorithm, tags = d.Algorithm(), nil
	}
	got := hashed(algorithm, m.Body)
	if tags == nil && string(got) != reference {
		return nil, &blob.MismatchError{Want: oci.Digest(reference), Got: got}
	}
	if int64(len(m.Body)) > r.config.MaxManifest {
		return nil, tooLarge("manifest", r.config.MaxManifest)
	}
	parsed, err := parseDocument(m.MediaType, m.Body)
	if err != nil {
		return nil, err
	}
	m.Digest, m.MediaType, m.Tag = got, parsed.MediaType, ""
	if tags != nil {
		m.Tag = reference
	}
	if err := r.create(repository); err != nil {
		return nil, err
	}
	return &m, r.commit(repository, &m, parsed, tags, nil)
}
