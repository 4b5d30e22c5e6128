package cosign

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/oci"
)

// recorded is what cosign itself made; its README tells how.
const recorded = "testdata/cosign-3.1.2"

// A layout is a Repository over an OCI layout. Names and the lists of
// referrers in its index are all that it knows.
type layout struct{ dir string }

func (l layout) Blob(_ context.Context, d v1.Descriptor) ([]byte, error) {
	raw, err := os.ReadFile(filepath.Join(l.dir, "blobs", "sha256", oci.Digest(d.Digest).Hex()))
	if err == nil && string(oci.SHA256(raw)) != string(d.Digest) {
		err = fmt.Errorf("%s: other bytes", d.Digest)
	}
	return raw, err
}

func (l layout) Manifest(ctx context.Context, d v1.Descriptor) ([]byte, error) { return l.Blob(ctx, d) }

func (l layout) index(name, value string) (found v1.Descriptor, err error) {
	var index v1.Index
	raw, err := os.ReadFile(filepath.Join(l.dir, "index.json"))
	if err == nil {
		err = json.Unmarshal(raw, &index)
	}
	for _, d := range index.Manifests {
		if d.Annotations[name] == value {
			return d, err
		}
	}
	return found, errors.Join(err, ErrNoTag)
}

func (l layout) Tag(ctx context.Context, tag string) ([]byte, error) {
	d, err := l.index(v1.AnnotationRefName, tag)
	if err != nil {
		return nil, err
	}
	return l.Blob(ctx, d)
}

func (l layout) Referrers(ctx context.Context, image oci.Digest) ([]v1.Descriptor, error) {
	d, err := l.index("org.olareg.referrer.subject", string(image))
	if errors.Is(err, ErrNoTag) {
		return nil, nil
	}
	var list v1.Index
	raw, err := l.Blob(ctx, d)
	if err == nil {
		err = json.Unmarshal(raw, &list)
	}
	return list.Manifests, err
}

func tagged(t testing.TB, tag string) oci.Digest {
	t.Helper()
	d, err := layout{recorded}.index(v1.AnnotationRefName, tag)
	if err != nil {
		t.Fatal(err)
	}
	return oci.Digest(d.Digest)
}

func readKey(t testing.TB, name string) []Key {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(recorded, name+".pub"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := ParseKeys(raw)
	if err != nil || len(list) != 1 {
		t.Fatalf("got %d keys, %v, want 1", len(list), err)
	}
	return list
}

func find(t testing.TB, in Repository, image oci.Digest) []Signature {
	t.Helper()
	f, err := Find(t.Context(), in, image)
	if err != nil || len(f.Unread) > 0 {
		t.Fatalf("got %v, unread %v", err, f.Unread)
	}
	return f.Signatures
}

var recordedKeys = []string{"p256", "p384", "p521", "rsa", "ed25519"}

func TestSignaturesThatCosignMadeAreEachOfOneKey(t *testing.T) {
	for tag, format := range map[string]Format{"v1": Bundle, "v2": Simple} {
		image := tagged(t, tag)
		signatures := find(t, layout{recorded}, image)
		if len(signatures) != len(recordedKeys) {
			t.Fatalf("%s: found %d signatures, want %d", tag, len(signatures), len(recordedKeys))
		}
		for _, name := range recordedKeys {
			good := 0
			for _, s := range signatures {
				_, err := s.Check(image, readKey(t, name))
				if err == nil {
					good++
					word, _ := s.Annotations["key"].(string)
					if s.Format != format || word == "" || !strings.HasPrefix(name, word) {
						t.Errorf("%s by %s: got %s with %v", tag, name, s.Format, s.Annotations)
					}
				} else if !errors.Is(err, ErrKey) {
					t.Errorf("%s by %s: got %v, want %v", tag, name, err, ErrKey)
				}
			}
			if good != 1 {
				t.Errorf("%s: %d signatures by %s, want 1", tag, good, name)
			}
		}
	}
}

func TestASignatureIsOfOneImageOnly(t *testing.T) {
	for tag, other := range map[string]string{"v1": "v2", "v2": "v1"} {
		for _, s := range find(t, layout{recorded}, tagged(t, tag)) {
			for _, name := range recordedKeys {
				if _, err := s.Check(tagged(t, other), readKey(t, name)); !errors.Is(err, ErrImage) && !errors.Is(err, ErrKey) {
					t.Errorf("%s of %s by %s for %s: got %v", s.Format, tag, name, other, err)
				}
			}
		}
	}
}

func TestAnAlteredByteUndoesASignature(t *testing.T) {
	for tag := range map[string]bool{"v1": true, "v2": true} {
		for _, s := range find(t, layout{recorded}, tagged(t, tag)) {
			key, err := s.Check(s.Images[0], allKeys(t))
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range []*[]byte{&s.message, &s.sig} {
				for i := 0; i < len(*part); i += 5 {
					(*part)[i] ^= 1
					if _, err := s.Check(s.Images[0], []Key{key}); !errors.Is(err, ErrKey) {
						t.Fatalf("%s, byte %d altered: got %v", s.Format, i, err)
					}
					(*part)[i] ^= 1
				}
			}
		}
	}
}

func allKeys(t testing.TB) (all []Key) {
	for _, name := range recordedKeys {
		all = append(all, readKey(t, name)...)
	}
	return all
}
