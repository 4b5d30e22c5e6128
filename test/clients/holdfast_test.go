package clients

import (
	"os"
	"testing"

	"holdfast/internal/image/transport"
	"holdfast/internal/login"
)

// holdfast is our own client.
type holdfast struct{ *testing.T }

func (c holdfast) options(h host, who person) (o transport.Options, err error) {
	if o.Keychain, err = login.Open(authFile(c.T, h, who)); err != nil || h.ca == "" {
		return o, err
	}
	o.CA, err = os.ReadFile(h.ca)
	return o, err
}

// login is the handshake alone: there is no verb for it.
func (c holdfast) login(h host, who person) error {
	return craneClient(c).login(host{address: h.address}, who)
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
