package cosign

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/oci"
)

func TestWhatCannotBeReadHidesNoSignature(t *testing.T) {
	image := tagged(t, "v1")
	in := crowded{layout{recorded}, []v1.Descriptor{
		{ArtifactType: BundleType, Digest: digest.Digest(tagged(t, "v2"))},
		{ArtifactType: BundleType, Digest: digest.Digest(oci.SHA256(nil))},
	}}
	found, err := Find(t.Context(), in, image)
	if err != nil || len(found.Signatures) != len(recordedKeys) || len(found.Unread) != 1 {
		t.Errorf("got %d signatures, unread %v, %v", len(found.Signatures), found.Unread, err)
	}
	for range maxReferrers {
		in.more = append(in.more, in.more[0])
	}
	found, err = Find(t.Context(), in, image)
	last := found.Unread[len(found.Unread)-1].Error()
	if err != nil || !strings.Contains(last, "more than 100") {
		t.Errorf("of too many: got %q, %v", last, err)
	}
}

// crowded has more beside an image, before what is there.
type crowded struct {
	layout
	more []v1.Descriptor
}

func (c crowded) Referrers(ctx context.Context, image oci.Digest) ([]v1.Descriptor, error) {
	list, err := c.layout.Referrers(ctx, image)
	return append(c.more[:len(c.more):len(c.more)], list...), err
}

func TestOnlyStatementsPassWithoutAPolicy(t *testing.T) {
	payload := func(content string) string {
		return `{"mediaType": "` + SimpleType + `", "digest": "` + string(oci.SHA256([]byte(content))) + `", "size": ` + strconv.Itoa(len(content)) + `, "annotations": {"` + signatureAnnotation + `": "c2ln"}}`
	}
	claim := `{"critical": {"type": "` + simpleClaim + `", "image": {"docker-manifest-digest": "` + string(oci.SHA256(nil)) + `"}}}`
	layer := func(mediaType string) string { return `{"mediaType": "` + mediaType + `"}` }
	const image, other = `"config": {"mediaType": "application/vnd.oci.image.config.v1+json"}`, `"config": {"mediaType": "application/vnd.oci.empty.v1+json"}`
	const subject = `, "subject": {"digest": "sha256:00"}`
	for text, want := range map[string]bool{
		`{` + other + subject + `, "layers": [` + layer(BundleType) + `]}`:                                                               true,
		`{` + other + subject + `, "layers": [` + layer("application/spdx+json") + `]}`:                                                  true,
		`{` + image + `, "layers": [` + payload(claim) + `, ` + payload(claim) + `]}`:                                                    true,
		`{` + image + `, "layers": [` + payload(claim) + `, ` + layer(v1.MediaTypeImageLayerGzip) + `]}`:                                 false,
		`{` + image + `, "layers": [` + payload(claim) + `, ` + payload("a tar, which some runtimes unpack") + `]}`:                      false,
		`{` + image + `, "layers": [` + payload(claim) + strings.Repeat(`, `+payload(claim), maxLayers) + `]}`:                           false,
		`{` + image + subject + `, "layers": [` + layer("application/spdx+json") + `]}`:                                                  false,
		`{` + other + subject + `, "layers": [` + layer(v1.MediaTypeImageLayerZstd) + `]}`:                                               false,
		`{` + other + subject + `, "layers": [` + layer("application/vnd.docker.image.rootfs.diff.tar.gzip") + `]}`:                      false,
		`{` + other + subject + `, "layers": [` + layer("application/vnd.oci.image.layer.v1.erofs") + `]}`:                               false,
		`{"config": {"mediaType": "application/vnd.wasm.config.v0+json"}` + subject + `, "layers": [` + layer("application/Wasm") + `]}`: false,
		`{` + other + `, "layers": [` + layer("application/spdx+json") + `]}`:                                                            false,
		`{` + other + subject + `, "layers": []}`:                                                                                        false,
		`{"manifests": []` + subject + `}`:                                                                                               false,
		`{"layers": 1}`:                                                                                                                  false,
	} {
		if got := IsStatement(t.Context(), blobs{claim, "a tar, which some runtimes unpack"}, v1.MediaTypeImageManifest, []byte(text)); got != want {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
}

func TestOfDockersManifestsASubjectSaysNothing(t *testing.T) {
	text := []byte(`{"config": {"mediaType": "text/plain"}, "subject": {"digest": "sha256:00"}, "layers": [{"mediaType": "text/plain"}]}`)
	for mediaType, want := range map[string]bool{
		v1.MediaTypeImageManifest: true, "": false,
		"application/vnd.docker.distribution.manifest.v2+json": false,
	} {
		if got := IsStatement(t.Context(), blobs{}, mediaType, text); got != want {
			t.Errorf("%q: got %v, want %v", mediaType, got, want)
		}
	}
}

// blobs are a repository of nothing else.
type blobs []string

func (b blobs) Blob(_ context.Context, d v1.Descriptor) ([]byte, error) {
	for _, content := range b {
		if string(oci.SHA256([]byte(content))) == string(d.Digest) {
			return []byte(content), nil
		}
	}
	return nil, ErrNoTag
}

func (blobs) Tag(context.Context, string) ([]byte, error)                     { return nil, ErrNoTag }
func (blobs) Referrers(context.Context, oci.Digest) ([]v1.Descriptor, error)  { return nil, nil }
func (blobs) Manifest(context.Context, v1.Descriptor) (raw []byte, err error) { return nil, ErrNoTag }

func TestOurSignaturesAreReadAndEd25519MakesThemEqual(t *testing.T) {
	image := oci.SHA256([]byte("image"))
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	first, err := Sign(ed, image, "h/r:1", map[string]any{"a": "b"})
	if err != nil {
		t.Fatal(err)
	}
	if second, err := Sign(ed, image, "h/r:1", map[string]any{"a": "b"}); err != nil || !bytes.Equal(first, second) {
		t.Errorf("signed twice: got %s and %s, %v", first, second, err)
	}
	other, err := Sign(p256, image, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range [][]byte{first, other} {
		s, err := ParseBundle(raw)
		if err != nil {
			t.Fatal(err)
		}
		var keys []Key
		for _, public := range []any{p256.Public(), ed.Public()} {
			k, err := NewKey(public)
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, k)
		}
		if _, err := s.Check(image, keys); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestBundlesThatSignNoImageAreNone(t *testing.T) {
	good, err := Sign(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), oci.SHA256(nil), "h/r:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{"bundle.v0.3+json", "bundle.v0.4+json"}, {`"signatures":[`, `"signatures":[{"sig":""},`}, {"vnd.in-toto+json", "vnd.in-toto+xml"},
		{`"dsseEnvelope"`, `"messageSignature"`}, {`{"mediaType"`, `["mediaType"`}, {`"payload":"`, `"payload":"!`},
	} {
		raw := strings.Replace(string(good), change[0], change[1], 1)
		if _, err := ParseBundle([]byte(raw)); err == nil || raw == string(good) {
			t.Errorf("%q for %q: got %v", change[1], change[0], err)
		}
	}
}

func TestWeakAndForeignKeysAreRefused(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	p224, err2 := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	for _, public := range []any{weak.Public(), p224.Public(), "a word"} {
		if k, err := NewKey(public); err == nil {
			t.Errorf("got key %s of %T", k.ID(), public)
		}
	}
	good := string(readKey(t, "p256")[0].PEM())
	for _, text := range []string{"", "nonsense", "nonsense\n" + good, good + "nonsense", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY"}))} {
		if _, err := ParseKeys([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	if list, err := ParseKeys([]byte(good + "\n" + good)); err != nil || len(list) != 2 {
		t.Errorf("two keys: got %d, %v", len(list), err)
	}
}
