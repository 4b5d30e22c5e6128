package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"holdfast/internal/input"
	"holdfast/internal/oci"
	"holdfast/internal/resume"
)

// Referrers lists what refers to a manifest, and nothing when that was asked
// not long ago.
func (s *Set) Referrers(ctx context.Context, repository string, subject oci.Digest) ([]oci.Digest, error) {
	u, name, err := s.find(repository)
	if err != nil {
		return nil, err
	}
	list, err := u.referrers(ctx, name, subject)
	if err != nil && !errors.Is(err, ErrUnknown) {
		return nil, fmt.Errorf("upstream %s: %w", u.url.Host, err)
	}
	return list, nil
}

// referrers asks by the endpoint, and where there is none by the tag that
// stands for it.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers
func (u *upstream) referrers(ctx context.Context, repository string, subject oci.Digest) ([]oci.Digest, error) {
	if u.tags.is(repository, "referrers", subject) {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	body, err := u.list(ctx, repository, subject)
	if errors.Is(err, ErrUnknown) {
		var m Manifest
		m, err = u.fetch(ctx, repository, subject.Algorithm()+"-"+subject.Hex()[:64], "")
		body = m.Body
	}
	if err == nil || errors.Is(err, ErrUnknown) {
		u.tags.note(repository, "referrers", subject)
	}
	if err != nil {
		return nil, err
	}
	return parseReferrers(body)
}

func (u *upstream) list(ctx context.Context, repository string, subject oci.Digest) ([]byte, error) {
	client, err := u.client(ctx, repository)
	if err != nil {
		return nil, explain(err)
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, u.at(repository, "referrers", string(subject)), nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(q)
	if err != nil {
		return nil, explain(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, explain(&resume.StatusError{Code: answer.StatusCode, Status: answer.Status})
	}
	return input.ReadAll(answer.Body, maxManifest)
}

// parseReferrers reads the digests of an index, and leaves out what is none.
func parseReferrers(b []byte) ([]oci.Digest, error) {
	var index struct {
		Manifests []struct {
			Digest string `json:"digest"`
		} `json:"manifests"`
	}
	if err := json.Unmarshal(b, &index); err != nil {
		return nil, errors.New("the list of referrers is no JSON of an index")
	}
	var list []oci.Digest
	for _, m := range index.Manifests {
		if d, err := oci.ParseDigest(m.Digest); err == nil {
			list = append(list, d)
		}
	}
	return list, nil
}
