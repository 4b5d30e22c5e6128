package registry

import (
	"context"
	"errors"

	"holdfast/internal/oci"
)

// A ReferrerSource is a Source that also knows what refers to a manifest.
type ReferrerSource interface {
	Referrers(ctx context.Context, repository string, subject oci.Digest) ([]oci.Digest, error)
}

// maxLearned bounds how many referrers of one manifest a Source makes us keep.
const maxLearned = 100

// learnReferrers gets what Sources say refers to a manifest. When they cannot
// be asked, what the registry has is all there is to tell.
func (r *Registry) learnReferrers(ctx context.Context, repository string, subject oci.Digest) {
	if r.config.ReadOnly || !validName(repository) {
		return
	}
	for _, s := range r.config.Sources {
		source, ok := s.(ReferrerSource)
		if !ok {
			continue
		}
		found, err := source.Referrers(ctx, repository, subject)
		if err != nil && !errors.Is(err, ErrUnknown) {
			r.config.Logger.Info("referrers cannot be asked for", "repository", repository, "digest", subject, "cause", err)
		}
		for _, d := range found[:min(len(found), maxLearned)] {
			r.learn(ctx, repository, d)
		}
	}
}

func (r *Registry) learn(ctx context.Context, repository string, d oci.Digest) {
	if _, err := r.byDigest(repository, d); err == nil {
		return
	}
	if _, err := r.fetchManifest(ctx, repository, string(d), ""); err != nil {
		r.config.Logger.Info("a referrer cannot be got", "repository", repository, "digest", d, "cause", err)
	}
}

// learnNamed gets what Sources say that a tag or a digest names.
func (r *Registry) learnNamed(ctx context.Context, repository, reference string) {
	if d, err := oci.ParseDigest(reference); err == nil {
		r.learn(ctx, repository, d)
		return
	}
	own, _ := r.index.Tagged(repository, reference) // none is as good as one that cannot be read
	if _, err := r.fetchManifest(ctx, repository, reference, own.Digest); err != nil && !isAbsent(err) {
		r.config.Logger.Info("a tag cannot be asked for", "repository", repository, "tag", reference, "cause", err)
	}
}
