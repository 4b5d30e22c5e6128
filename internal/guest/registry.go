package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

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
	digest oci.Digest
	getter resume.Getter
}

// backoff is before the second try: with those that follow, it outlasts a
// registry that is started again.
const backoff = time.Second

// stall is the last resort: the client that a guest is given gives up sooner
// on a registry that says nothing, and names it.
const stall = time.Minute

// newRegistry knows the image HOST:PORT/REPOSITORY@sha256:… at an endpoint.
// The host in the image's name is how others reach the registry; here the
// endpoint says where it is.
func newRegistry(endpoint string, c *http.Client, name string, pause time.Duration) (*registry, error) {
	repository, digest, err := parseName(name)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("registry %.80q: want https://HOST:PORT", endpoint)
	}
	own := *c
	own.CheckRedirect = refuseRedirect
	base := strings.TrimSuffix(endpoint, "/") + "/v2/" + repository
	return &registry{base: base, digest: digest, getter: resume.Getter{Client: &own, Backoff: pause, Stall: stall}}, nil
}

// refuseRedirect keeps to the one host that the configuration names.
func refuseRedirect(r *http.Request, _ []*http.Request) error {
	return fmt.Errorf("the registry redirects to %s, which the configuration does not name: %w", r.URL.Host,
		&resume.StatusError{Code: r.Response.StatusCode, Status: r.Response.Status})
}

// repositoryForm is the distribution specification's, "Pulling manifests".
var repositoryForm = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

func parseName(name string) (repository string, d oci.Digest, err error) {
	rest, digest, pinned := strings.Cut(name, "@")
	_, repository, _ = strings.Cut(rest, "/")
	if !pinned || !repositoryForm.MatchString(repository) {
		return "", "", fmt.Errorf("image %.200q: want HOST:PORT/REPOSITORY@sha256:<64 hex digits>", name)
	}
	d, err = oci.ParseDigest(digest)
	if err == nil && d.Algorithm() != "sha256" {
		err = fmt.Errorf("image %.200q: want a sha256 digest", name)
	}
	return repository, d, err
}

// open begins to read a manifest or blob; the caller closes it.
func (r *registry) open(ctx context.Context, kind string, d oci.Digest, accept ...string) (io.ReadCloser, error) {
	g, at := r.getter, r.base+"/"+kind+"/"+string(d)
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
	body, err := r.open(ctx, kind, d, accept...)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxDocument {
		return nil, fmt.Errorf("%s has more than %d bytes", d, maxDocument)
	}
	if got := oci.SHA256(b); got != d {
		return nil, &DigestError{Got: got, Want: d}
	}
	return b, nil
}
