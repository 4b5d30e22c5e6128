package clients

import (
	"os"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"holdfast/internal/image/transport"
)

// holdfast is our own client.
type holdfast struct{ *testing.T }

func (c holdfast) options(h host, who person) (transport.Options, error) {
	o := transport.Options{Keychain: keychain{who}}
	if h.ca == "" {
		return o, nil
	}
	var err error
	o.CA, err = os.ReadFile(h.ca)
	return o, err
}

type keychain struct{ who person }

func (k keychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	if k.who == nobody {
		return authn.Anonymous, nil
	}
	return &authn.Basic{Username: k.who.name, Password: k.who.password}, nil
}

// login is a pull of what everybody may have: there is no verb for it.
func (c holdfast) login(h host, who person) error {
	return craneClient{c.T}.login(host{address: h.address}, who)
}

func (c holdfast) copy(h host, who person, from, to string) (string, error) {
	o, err := c.options(h, who)
	if err != nil {
		return "", err
	}
	r, err := transport.Copy(c.Context(), ref(c.T, from), ref(c.T, to), o)
	return string(r.Digest), err
}

func (c holdfast) push(h host, who person, layout, ref string) error {
	_, err := c.copy(h, who, "oci:"+layout+":v1", ref)
	return err
}

func (c holdfast) pull(h host, who person, ref string) (string, error) {
	return c.copy(h, who, ref, "oci:"+c.TempDir()+":v1")
}

func TestHoldfast(t *testing.T) { hold(t, holdfast{t}, guarded(t, false)) }
