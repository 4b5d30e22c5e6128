package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/spec"
)

// Ask asks a platform's service: without proxies, since those are in the config
// that it has. It tries as long as ctx lasts.
func (f *Fetcher) Ask(ctx context.Context, r ignition.Request) ([]byte, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: 10 * time.Second,
		DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext}, CheckRedirect: redirect}
	if !r.Follow {
		client = noRedirects(client)
	}
	var b bytes.Buffer
	q := question{method: r.Method, url: r.URL, headers: r.Header, retry: true, passing: r.Retry}
	if err := f.get(ctx, client, q, &sink{w: &b, limit: spec.MaxSize}); err != nil {
		return nil, fmt.Errorf("%s: %w", spec.PublicURL(r.URL), public(err))
	}
	return b.Bytes(), nil
}

// metadata asks a cloud's metadata service for credentials, and not for long.
func (f *Fetcher) metadata(ctx context.Context, method, address string, headers http.Header) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	raw, err := f.Ask(ctx, ignition.Request{Method: method, URL: address, Header: headers})
	return string(raw), err
}

// imds asks for a path with a session token (Amazon EC2 User Guide, "Use
// IMDSv2").
func (f *Fetcher) imds(ctx context.Context, path string) (string, error) {
	token, err := f.metadata(ctx, http.MethodPut, f.AWS+"/latest/api/token", http.Header{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": {"21600"}})
	if err != nil {
		return "", fmt.Errorf("session token: %w", err)
	}
	text, err := f.metadata(ctx, http.MethodGet, f.AWS+path, http.Header{"X-Aws-Ec2-Metadata-Token": {strings.TrimSpace(token)}})
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(text), nil
}

// awsCredentials are those of the instance's role; nil when it has none.
func (f *Fetcher) awsCredentials(ctx context.Context) (*credentials, error) {
	const path = "/latest/meta-data/iam/security-credentials/"
	if f.AWS == "" {
		return nil, nil
	}
	role, err := f.imds(ctx, path)
	if errors.Is(err, ErrNotFound) || err == nil && role == "" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	role, _, _ = strings.Cut(role, "\n")
	text, err := f.imds(ctx, path+url.PathEscape(role))
	if err != nil {
		return nil, err
	}
	var c credentials
	if err := json.Unmarshal([]byte(text), &c); err != nil || c.ID == "" || c.Secret == "" {
		return nil, errors.New("metadata service: the role's credentials do not parse")
	}
	return &c, nil
}

// awsRegion is the instance's own, or one that every account has.
func (f *Fetcher) awsRegion(ctx context.Context) string {
	if f.AWS != "" {
		if region, err := f.imds(ctx, "/latest/meta-data/placement/region"); err == nil && region != "" && isHost(region) {
			return region
		}
	}
	return regions["aws"]
}

// gcs reads gs://BUCKET/OBJECT over the XML API.
func (f *Fetcher) gcs(ctx context.Context, client *http.Client, u *url.URL, sink *sink) error {
	base := f.GCS
	if base == "" {
		base = "https://storage.googleapis.com"
	}
	name := strings.TrimLeft(u.Path, "/")
	if name == "" || u.Host == "" || !isHost(u.Host) {
		return errors.New("want gs://BUCKET/OBJECT")
	}
	q := question{url: base + "/" + u.Host + "/" + awsEscape(name, false), retry: true}
	token, err := f.gcpToken(ctx)
	if err != nil {
		return err
	}
	if token != "" {
		q.headers = http.Header{"Authorization": {"Bearer " + token}}
	}
	return f.get(ctx, client, q, sink)
}

// gcpToken is the access token of the instance's service account; empty when it
// has none (Compute Engine, "Authenticate workloads to Google Cloud APIs").
func (f *Fetcher) gcpToken(ctx context.Context) (string, error) {
	if f.GCP == "" {
		return "", nil
	}
	text, err := f.metadata(ctx, http.MethodGet, f.GCP+"/computeMetadata/v1/instance/service-accounts/default/token", http.Header{"Metadata-Flavor": {"Google"}})
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("access token: %w", err)
	}
	return parseToken(text)
}

func parseToken(text string) (string, error) {
	var t struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(text), &t); err != nil || t.AccessToken == "" {
		return "", errors.New("metadata service: the access token does not parse")
	}
	return t.AccessToken, nil
}
