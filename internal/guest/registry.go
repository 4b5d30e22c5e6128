package guest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/cosign"
	"holdfast/internal/oci"
)

// maxDocument bounds manifests and configs, as registries do
// (distribution-spec 1.1, "Pushing Manifests").
const maxDocument = 4 << 20

// A registry is asked for the parts of one image, by their digests.
type registry struct {
	base   string // https://HOST:PORT/v2/REPOSITORY
	name   cosign.Name
	policy *cosign.Policy // nil: none
	digest oci.Digest     // of the image; of a tag, once settled
	client *http.Client
}

// newRegistry knows the image that the configuration names, at its registry.
// The host in the image's name is how others reach the registry; here the
// endpoint says where it is.
func newRegistry(g api.GuestConfig, c *http.Client) (*registry, error) {
	name, err := parseName(g.Image)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(g.Registry.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("registry %.80q: want https://HOST:PORT", g.Registry.URL)
	}
	policy, err := parsePolicy(g.Policy, name)
	if err != nil {
		return nil, err
	}
	own := *c
	own.CheckRedirect = refuseRedirect
	base := strings.TrimSuffix(g.Registry.URL, "/") + "/v2/" + name.Path()
	return &registry{base: base, name: name, policy: policy, digest: name.Digest, client: &own}, nil
}

// refuseRedirect keeps to the one host that the configuration names.
func refuseRedirect(r *http.Request, _ []*http.Request) error {
	return fmt.Errorf("the registry redirects to %s, which the configuration does not name", r.URL.Host)
}

func parseName(name string) (cosign.Name, error) {
	n, err := cosign.ParseName(name)
	switch {
	case err != nil:
	case n.Digest == "" && n.Tag == "":
		err = fmt.Errorf("image %.200q: want HOST:PORT/REPOSITORY@sha256:<64 hex digits>", name)
	case n.Digest != "" && n.Digest.Algorithm() != "sha256":
		err = fmt.Errorf("image %.200q: want a sha256 digest", name)
	}
	return n, err
}

// open begins to read a manifest or blob; the caller closes it.
func (r *registry) open(ctx context.Context, kind, reference string, accept ...string) (io.ReadCloser, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+"/"+kind+"/"+reference, nil)
	if err != nil {
		return nil, err
	}
	q.Header["Accept"] = accept
	a, err := r.client.Do(q)
	if err != nil {
		return nil, err
	}
	if a.StatusCode != http.StatusOK {
		_ = a.Body.Close()
		return nil, &statusError{q.URL.String(), a.StatusCode, a.Status}
	}
	return a.Body, nil
}

// A statusError is an answer that is not 200.
type statusError struct {
	url    string
	code   int
	status string
}

func (e *statusError) Error() string { return "GET " + e.url + ": " + e.status }

// document reads a manifest or config as a whole, and verifies it.
func (r *registry) document(ctx context.Context, kind string, d oci.Digest, accept ...string) ([]byte, error) {
	b, err := r.get(ctx, kind, string(d), accept...)
	if err != nil {
		return nil, err
	}
	if got := oci.SHA256(b); got != d {
		return nil, &DigestError{Got: got, Want: d}
	}
	return b, nil
}

// get reads a document that nothing is known of.
func (r *registry) get(ctx context.Context, kind, reference string, accept ...string) ([]byte, error) {
	body, err := r.open(ctx, kind, reference, accept...)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, maxDocument+1))
	if err == nil && len(b) > maxDocument {
		err = fmt.Errorf("%s has more than %d bytes", reference, maxDocument)
	}
	return b, err
}
