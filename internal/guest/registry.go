package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/cosign"
	"holdfast/internal/oci"
	"holdfast/internal/resume"
)

// maxDocument bounds manifests and configs, as registries do
// (distribution-spec 1.1, "Pushing Manifests").
const maxDocument = 4 << 20

// A registry is asked for the parts of one image, by their digests. Where an
// answer breaks off, the rest is asked for.
type registry struct {
	base   string // https://HOST:PORT/v2/REPOSITORY
	name   cosign.Name
	policy *cosign.Policy // nil: none
	digest oci.Digest     // of the image; of a tag, once settled
	getter resume.Getter
}

// backoff is before the second try: with those that follow, it outlasts a
// registry that is started again.
const backoff = time.Second

// stall is the last resort: the client that a guest is given gives up sooner
// on a registry that says nothing, and names it.
const stall = time.Minute

// newRegistry knows the image that the configuration names, at its registry.
// The host in the image's name is how others reach the registry; here the
// endpoint says where it is.
func newRegistry(g api.GuestConfig, c *http.Client, pause time.Duration) (*registry, error) {
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
	getter := resume.Getter{Client: &own, Backoff: pause, Stall: stall}
	return &registry{base: base, name: name, policy: policy, digest: name.Digest, getter: getter}, nil
}

// refuseRedirect keeps to the one host that the configuration names.
func refuseRedirect(r *http.Request, _ []*http.Request) error {
	return fmt.Errorf("the registry redirects to %s, which the configuration does not name: %w", r.URL.Host,
		&resume.StatusError{Code: r.Response.StatusCode, Status: r.Response.Status})
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
	g, at := r.getter, r.base+"/"+kind+"/"+reference
	g.Accept = accept
	body, err := g.Open(ctx, at, 0)
	var status *resume.StatusError
	if errors.As(err, &status) {
		err = fmt.Errorf("GET %s: %w", at, err)
	}
	if err != nil {
		return nil, err
	}
	return &answer{body, at}, nil
}

// An answer names the registry when it breaks off for good.
type answer struct {
	*resume.Reader
	url string
}

func (a *answer) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("GET %s: %w", a.url, err)
	}
	return n, err
}

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
