package clients

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"holdfast/internal/image/transport"
	"holdfast/internal/keys"
	"holdfast/internal/wiring"
)

// referrers are the digests of what refers to an image, as
// go-containerregistry finds them.
func (c craneClient) referrers(image, artifactType string) string {
	d, err := name.NewDigest(image, name.Insecure)
	if err != nil {
		c.Fatal(err)
	}
	index, err := remote.Referrers(d, remote.WithContext(c.Context()), remote.WithFilter("artifactType", artifactType))
	if err != nil {
		c.Fatal(err)
	}
	list, err := index.IndexManifest()
	if err != nil {
		c.Fatal(err)
	}
	var all []string
	for _, m := range list.Manifests {
		all = append(all, m.Digest.String())
	}
	return strings.Join(all, " ")
}

// cosign is the program itself, with a home of its own and no way to any
// transparency log: it would look for one on the network.
type cosign struct {
	*testing.T
	program, dir string
}

func newCosign(t *testing.T) cosign {
	t.Helper()
	program := os.Getenv("HOLDFAST_COSIGN")
	if program == "" {
		t.Skip("signs and verifies with cosign, whose build takes minutes: make soak, or HOLDFAST_COSIGN=its path")
	}
	c := cosign{t, program, t.TempDir()}
	write(t, c.path("none.json"), `{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}`)
	t.Setenv("HOME", c.dir)
	t.Setenv("COSIGN_PASSWORD", "")
	for _, proxy := range []string{"HTTPS_PROXY", "https_proxy"} {
		t.Setenv(proxy, "http://127.0.0.1:1") // what it looks for is refused at once
	}
	return c
}

func (c cosign) path(name string) string { return filepath.Join(c.dir, name) }

func (c cosign) run(args ...string) error {
	_, err := run(c.Context(), "", c.program, args...)
	return err
}

func (c cosign) verify(key, ref string) error {
	return c.run("verify", "--key="+key, "--insecure-ignore-tlog", "--allow-http-registry", ref)
}

// key makes a key in the form that openssl and we read, and brings it to cosign.
func (c cosign) key(algorithm ...string) (private, public string) {
	c.Helper()
	private = c.path("k.pem")
	needs(c.T, "openssl", "openssl")
	if _, err := run(c.Context(), "", "openssl", append([]string{"genpkey", "-out", private}, algorithm...)...); err != nil {
		c.Fatal(err)
	}
	_ = os.Remove(c.path("c.key"))
	_ = os.Remove(c.path("c.pub"))
	if err := c.run("import-key-pair", "--key="+private, "--output-key-prefix="+c.path("c")); err != nil {
		c.Fatal(err)
	}
	return private, c.path("c.pub")
}

var cosignKeys = map[string][]string{
	"Ed25519": {"-algorithm", "ed25519"},
	"P-256":   {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"},
	"P-384":   {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"},
	"P-521":   {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"},
	"RSA":     {"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"},
}

func TestCosignAndWeAcceptEachOther(t *testing.T) {
	c, h := newCosign(t), serve(t, nil)
	installation, err := wiring.Open(h.state)
	if err != nil {
		t.Fatal(err)
	}
	for kind, words := range cosignKeys {
		private, public := c.key(words...)
		_, other := c.path("c.key"), c.path("other.pub")
		r, err := ring()
		if err != nil {
			t.Fatal(err)
		}
		pem, err := r.PublicPEM(keys.Image)
		if err != nil {
			t.Fatal(err)
		}
		write(t, other, string(pem))
		for form, sign := range map[string]func(ref string) error{
			"ours": func(ref string) error {
				_, err := installation.Sign(t.Context(), wiring.Signing{Image: ref, Key: private}, transport.Options{})
				return err
			},
			"theirs": func(ref string) error {
				return c.run("sign", "--key="+c.path("c.key"), "--signing-config="+c.path("none.json"), "--allow-http-registry", "--yes", ref)
			},
			"theirs-older": func(ref string) error {
				return c.run("sign", "--key="+c.path("c.key"), "--use-signing-config=false", "--new-bundle-format=false", "--tlog-upload=false", "--allow-http-registry", "--yes", ref)
			},
		} {
			ref := h.address + "/" + strings.ToLower(kind) + "/" + form + ":v1"
			dir, _ := layout(t, ref)
			if err := (craneClient{t}).push(h, nobody, dir, ref); err != nil {
				t.Fatal(err)
			}
			if err := sign(ref); err != nil {
				t.Fatalf("%s, %s: %v", kind, form, err)
			}
			checkBoth(t, c, installation, ref, public, other, form == "ours" || kind == "P-256" || kind == "RSA", kind+", "+form)
		}
	}
}

// checkBoth has both judge a signature, by its key and by another. With other
// keys than these cosign 3.1.2 does not accept what it has signed itself: it
// signs with Ed25519ph, SHA-384 and SHA-512, and verifies Ed25519 and SHA-256.
func checkBoth(t *testing.T, c cosign, i wiring.Installation, ref, key, other string, theyToo bool, what string) {
	t.Helper()
	if _, err := i.CheckSignatures(t.Context(), wiring.Checking{Image: ref, Keys: []string{key}}, transport.Options{}); err != nil {
		t.Errorf("%s: we: %v", what, err)
	}
	if err := c.verify(key, ref); theyToo && err != nil {
		t.Errorf("%s: cosign: %v", what, err)
	}
	if _, err := i.CheckSignatures(t.Context(), wiring.Checking{Image: ref, Keys: []string{other}}, transport.Options{}); err == nil {
		t.Errorf("%s: we accept it of another key", what)
	}
	if err := c.verify(other, ref); err == nil {
		t.Errorf("%s: cosign accepts it of another key", what)
	}
}

// An image and its signature are copied by crane and by us; cosign finds it
// at the new place.
func TestCosignAcceptsASignatureThatWasCopied(t *testing.T) {
	c, h := newCosign(t), serve(t, nil)
	installation, err := wiring.Open(h.state)
	if err != nil {
		t.Fatal(err)
	}
	private, public := c.key(cosignKeys["P-256"]...)
	dir, _ := layout(t, t.Name())
	if _, err := installation.Sign(t.Context(), wiring.Signing{Image: "oci:" + dir, Key: private, As: "h.example/app:v1"}, transport.Options{}); err != nil {
		t.Fatal(err)
	}
	to := h.address + "/new/app:v1"
	if _, err := transport.Copy(t.Context(), ref(t, "oci:"+dir+":v1"), ref(t, to), transport.Options{Referrers: true}); err != nil {
		t.Fatal(err)
	}
	if err := c.verify(public, to); err != nil {
		t.Error(err)
	}
	out, err := crane.Manifest(to, crane.Insecure)
	var m struct {
		Layers []any `json:"layers"`
	}
	if err != nil || json.Unmarshal(out, &m) != nil || len(m.Layers) != 1 {
		t.Errorf("crane sees %s, %v", out, err)
	}
}
