package clients

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	ocilayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// craneClient is go-containerregistry's crane, as a library.
type craneClient struct{ *testing.T }

func (c craneClient) options(who person) []crane.Option {
	auth := authn.Anonymous
	if who != nobody {
		auth = &authn.Basic{Username: who.name, Password: who.password}
	}
	return []crane.Option{crane.WithContext(c.Context()), crane.WithAuth(auth), crane.Insecure}
}

func (c craneClient) login(h host, who person) error {
	registry, err := name.NewRegistry(h.address)
	if err != nil {
		return err
	}
	_, err = transport.NewWithContext(c.Context(), registry, &authn.Basic{Username: who.name, Password: who.password}, http.DefaultTransport, nil)
	return err
}

func (c craneClient) push(_ host, who person, dir, ref string) error {
	index, err := ocilayout.ImageIndexFromPath(dir)
	if err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		return err
	}
	return crane.Push(image, ref, c.options(who)...)
}

func (c craneClient) pull(_ host, who person, ref string) (string, error) {
	image, err := crane.Pull(ref, c.options(who)...)
	if err != nil {
		return "", err
	}
	if err := crane.SaveOCI(image, c.TempDir()); err != nil {
		return "", err
	}
	digest, err := image.Digest()
	return digest.String(), err
}

func (c craneClient) catalog(h host, who person) (string, error) {
	list, err := crane.Catalog(h.address, c.options(who)...)
	return fmt.Sprint(list), err
}

func TestCrane(t *testing.T) { hold(t, craneClient{t}, guarded(t, false)) }
