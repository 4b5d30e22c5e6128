package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"holdfast/internal/blob"
	"holdfast/internal/oci"
	"holdfast/internal/registry/index"
)

// View is the repository for those who decide about it.
func (r *Registry) View(repository string) View { return view{r, repository, false} }

// pulled is the repository with what Sources have of it: the signatures of
// what comes through us are where it comes from.
func (r *Registry) pulled(repository string) View {
	return view{r, repository, len(r.config.Sources) > 0 && !r.config.ReadOnly}
}

type view struct {
	registry   *Registry
	repository string
	asks       bool // Sources too
}

func (v view) Repository() string { return v.repository }

func (v view) Manifest(ctx context.Context, reference string) (m Manifest, err error) {
	if v.asks {
		v.registry.learnNamed(ctx, v.repository, reference)
	}
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

func (v view) Blob(ctx context.Context, d oci.Digest, size int64) (io.ReadCloser, error) {
	f, _, err := v.registry.open(v.repository, d)
	if v.asks && isAbsent(err) {
		if err = v.registry.bring(ctx, v.repository, d, size); err == nil {
			f, _, err = v.registry.open(v.repository, d)
		}
	}
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
func (v view) Referrers(ctx context.Context, d oci.Digest, artifactType string) (list []Descriptor, err error) {
	if v.asks {
		v.registry.learnReferrers(ctx, v.repository, d)
	}
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

func checked(d oci.Digest, f *os.File) (io.ReadCloser, error) {
	r, err := blob.NewReader(d, f)
	return struct {
		io.Reader
		io.Closer
	}{r, f}, err
}
