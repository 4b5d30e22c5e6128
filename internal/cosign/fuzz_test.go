package cosign

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/oci"
)

// recordedBlobs are what cosign wrote: bundles, payloads, manifests.
func recordedBlobs(t testing.TB) (all [][]byte) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(recorded, "blobs", "sha256", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no blobs: %v", err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, raw)
	}
	return all
}

// Whatever a bundle looks like, it is a good signature by a key only if the
// key signed that image: here it has signed one image alone.
//
//fuzz:parser bundle.go:ParseBundle,takeStatement key.go:Verify,verifyEd25519,anyHash cosign.go:Check,checkImage
func FuzzBundle(f *testing.F) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	key, err := NewKey(private.Public())
	if err != nil {
		f.Fatal(err)
	}
	image := oci.SHA256([]byte("an image"))
	own, err := Sign(private, image, "h/r:1", map[string]any{"a": "b"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own)
	for _, raw := range recordedBlobs(f) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := ParseBundle(raw)
		if err != nil {
			return
		}
		if _, err := s.Check(image, []Key{key}); err == nil && s.Name != "h/r:1" {
			t.Errorf("signed for %q, never was", s.Name)
		}
		if _, err := s.Check(oci.SHA256(raw), []Key{key}); err == nil {
			t.Error("a signature of an image that was never signed")
		}
	})
}

// A payload of the older form is read, or refused; it names one image.
//
//fuzz:parser simple.go
func FuzzSimple(f *testing.F) {
	for _, raw := range recordedBlobs(f) {
		f.Add(raw, base64.StdEncoding.EncodeToString(raw[:min(64, len(raw))]))
	}
	f.Fuzz(func(t *testing.T, payload []byte, signature string) {
		s, err := ParseSimple(payload, signature)
		if err != nil {
			return
		}
		if len(s.Images) != 1 || !bytes.Equal(s.message, payload) || len(s.sig) == 0 {
			t.Errorf("got %d images, %d signed bytes of %d", len(s.Images), len(s.message), len(payload))
		}
	})
}

// A policy that is taken says the same when it was written and read again, and
// with "reject" as its default it takes no image that it has no scope for.
//
//fuzz:parser policy.go requirement.go scope.go strict.go identity.go name.go key.go:ParseKeys,NewKey decide.go:Decide,judge
func FuzzPolicy(f *testing.F) {
	f.Add([]byte(`{"default": [{"type": "reject"}], "transports": {"docker": {"*.example.com": [{"type": "insecureAcceptAnything"}]}}}`), "a.example.com/r:1")
	f.Add([]byte(`{"default": [`+signed(f, "p256", "")+`, {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}]}`), "h:5000/r@"+string(oci.SHA256(nil)))
	for _, identity := range []string{
		`{"type": "remapIdentity", "prefix": "h/a", "signedPrefix": "i"}`, `{"type": "exactReference", "dockerReference": "h/r:1"}`,
		`{"type": "exactRepository", "dockerRepository": "h/r"}`, `{"type": "matchDigest"}`, `{"type": "matchExact"}`, `{"type": "matchRepository"}`,
	} {
		f.Add([]byte(`{"transports": {"oci": {"/a/b:c": [{"type": "reject"}]}}, "default": [`+signed(f, "rsa", identity)+`]}`), "h/r")
	}
	image := tagged(f, "v1")
	f.Fuzz(func(t *testing.T, raw []byte, name string) {
		n, nameErr := ParseName(name)
		p, err := ParsePolicy(raw, nil)
		if err != nil || nameErr != nil {
			return
		}
		written, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParsePolicy(written, nil)
		if err != nil {
			t.Fatalf("%s, written again: %v", written, err)
		}
		s := Subject{Transport: Docker, Name: n, Digest: image}
		first, err := p.Decide(t.Context(), s, layout{recorded})
		if err != nil {
			t.Fatal(err)
		}
		second, err := again.Decide(t.Context(), s, layout{recorded})
		if err != nil || first.Allowed != second.Allowed || first.Allowed != (first.Err() == nil) {
			t.Errorf("%s of %s: first %v, then %v, %v", raw, n, first.Err(), second.Err(), err)
		}
		if first.Allowed && first.Transport == "" && p.Default[0].Type == reject {
			t.Errorf("%s takes %s", raw, n)
		}
	})
}

// A hostile is a repository that gives what the fuzzer wants, whatever is
// asked for.
type hostile struct{ referrer, tag, blob []byte }

func (h hostile) Tag(context.Context, string) ([]byte, error) { return h.tag, nil }

func (h hostile) Referrers(context.Context, oci.Digest) ([]v1.Descriptor, error) {
	return []v1.Descriptor{{ArtifactType: BundleType}, {}, {ArtifactType: "text/plain"}}, nil
}

func (h hostile) Manifest(context.Context, v1.Descriptor) ([]byte, error) { return h.referrer, nil }
func (h hostile) Blob(context.Context, v1.Descriptor) ([]byte, error)     { return h.blob, nil }

// Whatever lies beside an image, it is read or noted, within the bounds, and
// none of it is a signature by a key that signed nothing.
//
//fuzz:parser find.go kind.go
func FuzzFind(f *testing.F) {
	blobs := recordedBlobs(f)
	for i, raw := range blobs {
		f.Add(raw, blobs[(i+1)%len(blobs)], blobs[(i+2)%len(blobs)])
	}
	image := tagged(f, "v1")
	key, err := NewKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)).Public())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, referrer, tag, blob []byte) {
		found, err := Find(t.Context(), hostile{referrer, tag, blob}, image)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(found.Signatures); n > maxReferrers+maxLayers {
			t.Errorf("read %d signatures", n)
		}
		for _, s := range found.Signatures {
			if _, err := s.Check(image, []Key{key}); err == nil {
				t.Error("a signature by a key that signed nothing")
			}
		}
		var m v1.Manifest
		if IsStatement(t.Context(), hostile{referrer, tag, blob}, v1.MediaTypeImageManifest, referrer) && (json.Unmarshal(referrer, &m) != nil || len(m.Layers) == 0) {
			t.Errorf("%s is no statement", referrer)
		}
	})
}
