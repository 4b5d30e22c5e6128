package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"

	"holdfast/internal/input"
	"holdfast/internal/oci"
	"holdfast/internal/resume"
)

// maxManifest is the largest that registries have to take.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests
const maxManifest = 4 << 20

var accepted = strings.Join([]string{
	"application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json",
	"application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.docker.distribution.manifest.v2+json",
}, ", ")

func (u *upstream) blob(ctx context.Context, repository string, d oci.Digest) (io.ReadCloser, int64, error) {
	client, err := u.client(ctx, repository)
	if err != nil {
		return nil, 0, explain(err)
	}
	g := resume.Getter{Client: client, Stall: u.c.Stall, Log: u.c.Log}
	body, err := g.Open(ctx, u.at(repository, "blobs", string(d)), 0)
	if err != nil {
		return nil, 0, explain(err)
	}
	return &floor{ReadCloser: body, slowest: u.c.Slowest, now: u.c.Now}, body.Size(), nil
}

func (u *upstream) at(repository, kind, reference string) string {
	return fmt.Sprintf("%s://%s/v2/%s/%s/%s", u.url.Scheme, u.url.Host, repository, kind, reference)
}

// manifest asks for a tag no more often than the file allows, and then, if it
// can, for its digest alone.
func (u *upstream) manifest(ctx context.Context, repository, reference string, have oci.Digest) (Manifest, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	want, err := oci.ParseDigest(reference)
	if err == nil {
		return u.fetch(ctx, repository, reference, want)
	}
	if have != "" && u.tags.is(repository, reference, have) {
		return Manifest{Digest: have}, nil
	}
	if have != "" {
		now, err := u.head(ctx, repository, reference)
		if err != nil {
			return Manifest{}, err
		}
		if now == have {
			u.tags.note(repository, reference, have)
			return Manifest{Digest: have}, nil
		}
	}
	m, err := u.fetch(ctx, repository, reference, "")
	if err == nil {
		u.tags.note(repository, reference, m.Digest)
	}
	return m, err
}

// head gives what a tag names, or nothing when the upstream does not say.
func (u *upstream) head(ctx context.Context, repository, tag string) (oci.Digest, error) {
	answer, err := u.ask(ctx, http.MethodHead, repository, tag)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	d, err := oci.ParseDigest(answer.Header.Get("Docker-Content-Digest"))
	if err != nil {
		return "", nil
	}
	return d, nil
}

// fetch gets a manifest, which is want unless that is empty.
func (u *upstream) fetch(ctx context.Context, repository, reference string, want oci.Digest) (Manifest, error) {
	answer, err := u.ask(ctx, http.MethodGet, repository, reference)
	if err != nil {
		return Manifest{}, err
	}
	defer answer.Body.Close()
	body, err := input.ReadAll(answer.Body, maxManifest)
	if err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", input.HungUp(err))
	}
	mediaType, _, _ := strings.Cut(answer.Header.Get("Content-Type"), ";")
	m := Manifest{Digest: oci.SHA256(body), MediaType: strings.TrimSpace(mediaType), Body: body}
	if want != "" {
		m.Digest = oci.Digest(digest.Algorithm(want.Algorithm()).FromBytes(body))
	}
	if want != "" && m.Digest != want {
		return Manifest{}, fmt.Errorf("sent %s for %s", m.Digest, want)
	}
	return m, nil
}

func (u *upstream) ask(ctx context.Context, method, repository, reference string) (*http.Response, error) {
	client, err := u.client(ctx, repository)
	if err != nil {
		return nil, explain(err)
	}
	q, err := http.NewRequestWithContext(ctx, method, u.at(repository, "manifests", reference), nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Accept", accepted)
	answer, err := client.Do(q)
	if err != nil {
		return nil, explain(err)
	}
	if answer.StatusCode != http.StatusOK {
		_ = answer.Body.Close()
		return nil, explain(&resume.StatusError{Code: answer.StatusCode, Status: answer.Status})
	}
	return answer, nil
}

// explain tells what an upstream does not have from what it could not say. To
// one that wants other credentials, what we may not see does not exist.
func explain(err error) error {
	var status *resume.StatusError
	var answer *transport.Error
	code := 0
	switch {
	case errors.As(err, &status):
		code = status.Code
	case errors.As(err, &answer):
		code = answer.StatusCode
		err = &resume.StatusError{Code: code, Status: fmt.Sprintf("%d %s", code, http.StatusText(code))}
	}
	switch code {
	case http.StatusNotFound:
		return ErrUnknown
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w, or wants other credentials: %w", ErrUnknown, err)
	}
	return err
}
