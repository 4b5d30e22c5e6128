package wiring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/cosign"
	"holdfast/internal/image/transport"
	"holdfast/internal/keys"
	"holdfast/internal/oci"
	"holdfast/internal/registry"
)

// signedByCosign are two small images that cosign itself has signed with five
// keys: v1 in the current form, v2 in the older one.
const signedByCosign = "../cosign/testdata/cosign-3.1.2"

// judgedBy serves a registry of an installation of its own, which calls itself
// registry.example and holds its images to the policy.
func judgedBy(t *testing.T, policy string, e Enforcement) (i Installation, host string, change func(policy string)) {
	t.Helper()
	i, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ring, err := i.Ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e.File, e.Host = filepath.Join(t.TempDir(), "policy.json"), "registry.example"
	change = func(policy string) {
		if err := os.WriteFile(e.File, []byte(policy), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	change(policy)
	s, err := i.Serve(ring, ServeConfig{RegistryListen: "127.0.0.1:0", BrokerListen: "127.0.0.1:0", Policy: e})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return i, strings.TrimPrefix(s.RegistryURL(), "http://"), change
}

// keyFile is where a key of cosign's lies, in JSON.
func keyFile(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(signedByCosign, name+".pub"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func wantsSignature(key, identity string) string {
	return fmt.Sprintf(`{"default": [{"type": "reject"}], "transports": {"docker": {"registry.example": [{"type": "sigstoreSigned", "keyPath": %s, "signedIdentity": {"type": %q}}]}}}`, key, identity)
}

// move takes an image along with its signatures, bare without them.
func move(t *testing.T, src, dst string) error { t.Helper(); return copyImage(t, src, dst, true) }
func bare(t *testing.T, src, dst string) error { t.Helper(); return copyImage(t, src, dst, false) }

func copyImage(t *testing.T, src, dst string, signatures bool) error {
	t.Helper()
	from, err := transport.Parse(src)
	if err != nil {
		t.Fatal(err)
	}
	to, err := transport.Parse(dst)
	if err != nil {
		t.Fatal(err)
	}
	_, err = transport.Copy(t.Context(), from, to, transport.Options{Referrers: signatures})
	return err
}

func denied(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "DENIED") {
		t.Errorf("got %v, want DENIED with %q", err, want)
	}
}

func TestARegistryGivesOutWhatThePolicyAllows(t *testing.T) {
	_, host, change := judgedBy(t, wantsSignature(keyFile(t, "p256"), "matchDigest"), Enforcement{Pull: true})
	if err := move(t, "oci:"+signedByCosign+":v1", host+"/a/hello:v1"); err != nil {
		t.Fatal(err)
	}
	if err := move(t, host+"/a/hello:v1", "oci:"+t.TempDir()); err != nil {
		t.Errorf("signed: %v", err)
	}
	if err := bare(t, "oci:"+signedByCosign+":v2", host+"/a/hello:v2"); err != nil {
		t.Fatal(err)
	}
	denied(t, move(t, host+"/a/hello:v2", "oci:"+t.TempDir()), "scope registry.example wants sigstoreSigned of registry.example/a/hello:v2: no signature is beside it")
	change(wantsSignature(keyFile(t, "p256"), "matchRepository"))
	waitFor(t, func() bool { return move(t, host+"/a/hello:v1", "oci:"+t.TempDir()) != nil })
	denied(t, move(t, host+"/a/hello:v1", "oci:"+t.TempDir()), "it gives the image no name")
}

// waitFor waits until the registry has looked at its policy again.
func waitFor(t *testing.T, ready func() bool) {
	t.Helper()
	for t.Context().Err() == nil && !ready() {
		time.Sleep(100 * time.Millisecond)
	}
}

func TestOurSignatureCarriesTheNameThatThePolicyWants(t *testing.T) {
	i, host, change := judgedBy(t, `{"default": [{"type": "reject"}]}`, Enforcement{Pull: true})
	ring, err := i.Ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pem, err := ring.PublicPEM(keys.Image)
	if err != nil {
		t.Fatal(err)
	}
	pub := filepath.Join(t.TempDir(), "image.pub")
	if err := os.WriteFile(pub, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	signed := copyOf(t, "v1")
	if _, err := i.Sign(t.Context(), Signing{Image: signed, As: "registry.example/hello:v1"}, transport.Options{}); err != nil {
		t.Fatal(err)
	}
	change(fmt.Sprintf(`{"default": [{"type": "sigstoreSigned", "keyPath": %q}]}`, pub))
	for _, tag := range []string{"v1", "v2"} {
		if err := move(t, signed, host+"/hello:"+tag); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, func() bool { return move(t, host+"/hello:v1", "oci:"+t.TempDir()) == nil })
	denied(t, move(t, host+"/hello:v2", "oci:"+t.TempDir()), "it is of the name registry.example/hello:v1")
}

// copyOf is a layout of one of those images without its signatures.
func copyOf(t *testing.T, tag string) string {
	t.Helper()
	dir := "oci:" + t.TempDir()
	if err := bare(t, "oci:"+signedByCosign+":"+tag, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestATagIsSetOnlyOnWhatThePolicyAllows(t *testing.T) {
	_, host, _ := judgedBy(t, wantsSignature(keyFile(t, "rsa"), "matchDigest"), Enforcement{Push: true})
	unsigned := copyOf(t, "v2")
	denied(t, move(t, unsigned, host+"/a/hello:v2"), "no signature is beside it")
	ref, err := transport.Parse(unsigned)
	if err != nil {
		t.Fatal(err)
	}
	s, err := transport.Resolve(t.Context(), ref, transport.Options{})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(ref.Path, "blobs", "sha256", s.Digest.Hex()))
	if err != nil {
		t.Fatal(err)
	}
	if code := put(t, host, string(s.Digest), s, raw); code != http.StatusCreated {
		t.Errorf("by its digest: got %d, want 201: its signature can only follow", code)
	}
	if code := put(t, host, string(s.Digest)+"?tag=sneaked", s, raw); code != http.StatusForbidden {
		t.Errorf("by its digest with a tag: got %d, want 403", code)
	}
	if err := move(t, "oci:"+signedByCosign+":v2", host+"/a/hello:v2"); err != nil {
		t.Errorf("older signatures first, then the tag: %v", err)
	}
	if err := move(t, "oci:"+signedByCosign+":v1", host+"/a/hello:v1"); err != nil {
		t.Errorf("signatures first, then the tag: %v", err)
	}
}

func put(t *testing.T, host, reference string, s transport.Subject, raw []byte) int {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+host+"/v2/a/hello/manifests/"+reference, strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Type", s.MediaType)
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	_, _ = io.Copy(io.Discard, a.Body)
	return a.StatusCode
}

func TestWhatCosignSignedIsVerifiedByItsKeysOnly(t *testing.T) {
	i, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"v1", "v2"} {
		image := "oci:" + signedByCosign + ":" + tag
		for _, key := range []string{"p256", "p384", "p521", "rsa", "ed25519"} {
			got, err := i.CheckSignatures(t.Context(), Checking{Image: image, Keys: []string{filepath.Join(signedByCosign, key+".pub")}}, transport.Options{})
			if err != nil || !got.Verified || len(got.Signatures) != 5 {
				t.Errorf("%s by %s: got %+v, %v", tag, key, got, err)
			}
		}
		var unsigned *UnsignedError
		if _, err := i.Ring(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got, err := i.CheckSignatures(t.Context(), Checking{Image: image}, transport.Options{}); !errors.As(err, &unsigned) || got.Verified {
			t.Errorf("%s by this installation: got %+v, %v", tag, got, err)
		}
	}
}

func TestAnImageOfAnAllowedIndexIsAllowed(t *testing.T) {
	g := &gate{allowed: map[string]bool{}}
	p := &cosign.Policy{}
	index, image := oci.SHA256([]byte("index")), oci.SHA256([]byte("image"))
	in := viewNamed("a")
	g.remember(p, in, manifestOf(index, `{"manifests": [{"digest": "`+string(image)+`"}]}`))
	for d, want := range map[oci.Digest]bool{index: true, image: true, oci.SHA256(nil): false} {
		if got := g.isAllowed(p, in, manifestOf(d, "")); got != want {
			t.Errorf("%s: got %v, want %v", d, got, want)
		}
	}
	if g.isAllowed(p, viewNamed("b"), manifestOf(image, "")) || g.isAllowed(&cosign.Policy{}, in, manifestOf(image, "")) {
		t.Error("what one repository and policy allow, another does")
	}
}

// viewNamed is a repository of which only the name is asked.
type named struct {
	registry.View
	name string
}

func (n named) Repository() string { return n.name }

func viewNamed(name string) registry.View { return named{name: name} }

func manifestOf(d oci.Digest, body string) registry.Manifest {
	return registry.Manifest{Digest: d, Body: []byte(body)}
}
