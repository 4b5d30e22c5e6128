package wiring

import (
	"context"
	"errors"
	"fmt"
	"io"

	"holdfast/internal/follow"
	"holdfast/internal/oci"
	"holdfast/internal/registry"
	"holdfast/internal/upstream"
)

// UpstreamConfig says from where the registry gets what it lacks.
type UpstreamConfig struct {
	File string // that lists the upstreams
	upstream.Config
}

// upstreams are a Source that follows its file.
type upstreams struct{ file *follow.File[*upstream.Set] }

func (s *Services) joinUpstreams(c ServeConfig, to *registry.Config) error {
	if c.Upstreams == nil {
		return nil
	}
	config := c.Upstreams.Config
	config.Log = c.Log
	load := func() (*upstream.Set, []string, error) { return upstream.Load(c.Upstreams.File, config) }
	file, err := follow.Open(follow.Config[*upstream.Set]{Read: load, Log: c.Log})
	if err != nil {
		return err
	}
	s.watch(file)
	s.upstreams = &upstreams{file}
	to.Sources = append(to.Sources, s.upstreams)
	return nil
}

// Prefix, Blob and Manifest are registry.Source's.
func (u *upstreams) Prefix(namespace string) (string, bool) { return u.file.Get().Prefix(namespace) }

func (u *upstreams) Blob(ctx context.Context, repository string, d oci.Digest) (io.ReadCloser, int64, error) {
	body, size, err := u.file.Get().Blob(ctx, repository, d)
	return body, size, asUnknown(err)
}

func (u *upstreams) Manifest(ctx context.Context, repository, reference string, have oci.Digest) (registry.Manifest, error) {
	m, err := u.file.Get().Manifest(ctx, repository, reference, have)
	return registry.Manifest{Digest: m.Digest, MediaType: m.MediaType, Body: m.Body}, asUnknown(err)
}

// Referrers is registry.ReferrerSource's.
func (u upstreams) Referrers(ctx context.Context, repository string, subject oci.Digest) ([]oci.Digest, error) {
	list, err := u.file.Get().Referrers(ctx, repository, subject)
	return list, asUnknown(err)
}

// asUnknown says in the registry's words that an upstream knows nothing of
// what was asked for.
func asUnknown(err error) error {
	if errors.Is(err, upstream.ErrUnknown) {
		return fmt.Errorf("%w: %w", registry.ErrUnknown, err)
	}
	return err
}
