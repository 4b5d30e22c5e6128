package guest

import (
	"archive/tar"
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/api"
	"holdfast/internal/cosign"
	"holdfast/internal/oci"
)

const app = "registry.example:5000/team/app"

func signer(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

// wants is a policy of images signed by key, under the name of their reference.
func wants(t *testing.T, key ed25519.PrivateKey) string {
	t.Helper()
	k, err := cosign.NewKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(cosign.Policy{Default: []cosign.Requirement{{Type: "sigstoreSigned", KeyDatas: [][]byte{k.PEM()}}}})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// sign puts beside the image a signature of what is signed, which may be
// another one.
func (s *shelf) sign(t *testing.T, image, signed oci.Digest, key ed25519.PrivateKey, name string) {
	t.Helper()
	bundle, err := cosign.Sign(key, signed, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	layer := v1.Descriptor{MediaType: cosign.BundleType, Digest: digest.Digest(s.put(bundle)), Size: int64(len(bundle))}
	m := s.putJSON(t, v1.Manifest{ArtifactType: cosign.BundleType, Layers: []v1.Descriptor{layer}, Subject: &v1.Descriptor{Digest: digest.Digest(image)}})
	m.ArtifactType = cosign.BundleType
	list, err := json.Marshal(v1.Index{Manifests: []v1.Descriptor{m}})
	if err != nil {
		t.Fatal(err)
	}
	s.referrers[image] = list
}

// tag makes an image that the tag v1 names.
func (s *shelf) tag(t *testing.T) oci.Digest {
	t.Helper()
	name := s.putImage(t, s.putLayer(plainLayer, archive(t, tar.Header{Name: "here"})))
	_, image, _ := strings.Cut(name, "@")
	s.content["v1"] = s.content[oci.Digest(image)]
	return oci.Digest(image)
}

func (s *shelf) pullBy(t *testing.T, name, policy string) (rootfs string, stages []string, err error) {
	t.Helper()
	c := Config{HTTP: s.Client(), Dir: t.TempDir(), Guest: api.GuestConfig{Image: name, Policy: policy, Registry: api.Endpoint{URL: s.URL}}}
	c.Stage = func(name, text, digest string) { stages = append(stages, name+" "+text+" "+digest) }
	rootfs, err = Pull(t.Context(), c)
	return rootfs, stages, err
}

func TestATagIsPulledIfItsImageIsSigned(t *testing.T) {
	needRoot(t)
	s, key := newShelf(t), signer(1)
	image := s.tag(t)
	s.sign(t, image, image, key, app+":v1")
	for _, name := range []string{app + ":v1", app + "@" + string(image)} {
		rootfs, stages, err := s.pullBy(t, name, wants(t, key))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(rootfs, "here")); err != nil {
			t.Error(err)
		}
		if len(stages) != 1 || !strings.HasPrefix(stages[0], "signature ") || !strings.HasSuffix(stages[0], string(image)) {
			t.Errorf("%s: got stages %q", name, stages)
		}
	}
}

func TestWhatIsNotSignedSoIsRefused(t *testing.T) {
	key := signer(1)
	for want, sign := range map[string]func(s *shelf, image oci.Digest){
		"no signature is beside it":        func(*shelf, oci.Digest) {},
		"no given key made it":             func(s *shelf, image oci.Digest) { s.sign(t, image, image, signer(2), app+":v1") },
		"it is of another image":           func(s *shelf, image oci.Digest) { s.sign(t, image, oci.SHA256([]byte("another")), key, app+":v1") },
		"it is of the name " + app + ":v2": func(s *shelf, image oci.Digest) { s.sign(t, image, image, key, app+":v2") },
	} {
		s := newShelf(t)
		sign(s, s.tag(t))
		_, _, err := s.pullBy(t, app+":v1", wants(t, key))
		if !errors.Is(err, cosign.ErrRefused) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestAPinnedImageIsHeldToThePolicyToo(t *testing.T) {
	s := newShelf(t)
	image := s.tag(t)
	if _, _, err := s.pullBy(t, app+"@"+string(image), wants(t, signer(1))); !errors.Is(err, cosign.ErrRefused) {
		t.Errorf("got %v, want %v", err, cosign.ErrRefused)
	}
}
