package transport

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	mrand "math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/enc"
	"holdfast/internal/enc/jwe"
	"holdfast/internal/oci"
	"holdfast/internal/registry"
)

// A layerKind packs a tar as a layer.
type layerKind struct {
	mediaType string
	pack      func(testing.TB, []byte) []byte
}

var (
	plainLayer = layerKind{ocispec.MediaTypeImageLayer, func(_ testing.TB, b []byte) []byte { return b }}
	gzipLayer  = layerKind{ocispec.MediaTypeImageLayerGzip, func(t testing.TB, b []byte) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		if _, err := w.Write(b); err != nil || w.Close() != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}}
	zstdLayer = layerKind{ocispec.MediaTypeImageLayerZstd, func(t testing.TB, b []byte) []byte {
		packed, err := io.ReadAll(pack(bytes.NewReader(b)))
		if err != nil {
			t.Fatal(err)
		}
		return packed
	}}
)

// tarOf has one file that does not compress to nothing.
func tarOf(t testing.TB, name string, size int) []byte {
	t.Helper()
	content := make([]byte, size)
	random := mrand.NewChaCha8([32]byte([]byte(strings.Repeat(name, 32))[:32]))
	for i := range content {
		content[i] = byte(random.Uint64() & 15)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(size), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// sample writes an image of two layers to dir, for the architecture given.
func sample(t testing.TB, dir, name, architecture string, kind layerKind) ocispec.Descriptor {
	t.Helper()
	w, err := createLayout(t.Context(), LayoutRef(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: architecture}}
	config.Config.Entrypoint = []string{"/bin/app"}
	config.RootFS.Type = "layers"
	var m ocispec.Manifest
	for _, file := range []string{"a", "b"} {
		content := tarOf(t, file, 100_000)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.Digest(oci.SHA256(content)))
		m.Layers = append(m.Layers, add(t, w, kind.mediaType, kind.pack(t, content)))
	}
	raw, _ := json.Marshal(config)
	m.Config = add(t, w, ocispec.MediaTypeImageConfig, raw)
	desc, _, err := w.finish(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return desc
}

func add(t testing.TB, w *layoutWriter, mediaType string, b []byte) ocispec.Descriptor {
	t.Helper()
	desc, err := w.add(t.Context(), mediaType, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return desc
}

// multiarch writes an index of images for three platforms and gives the
// digest of the one for amd64.
func multiarch(t testing.TB, dir string) digest.Digest {
	t.Helper()
	var index ocispec.Index
	index.Versioned, index.MediaType = specs.Versioned{SchemaVersion: 2}, ocispec.MediaTypeImageIndex
	var want digest.Digest
	for _, architecture := range []string{"arm64", "amd64", "s390x"} {
		desc := sample(t, dir, architecture, architecture, gzipLayer)
		desc.Platform = &ocispec.Platform{OS: "linux", Architecture: architecture}
		index.Manifests = append(index.Manifests, desc)
		if architecture == "amd64" {
			want = desc.Digest
		}
	}
	raw, _ := json.Marshal(index)
	w, err := createLayout(t.Context(), LayoutRef(dir, "all"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	desc := ocispec.Descriptor{MediaType: index.MediaType, Digest: digest.Digest(oci.SHA256(raw)), Size: int64(len(raw))}
	if err := w.tag(t.Context(), desc, raw); err != nil {
		t.Fatal(err)
	}
	return want
}

func source1(t testing.TB, s string) Ref {
	t.Helper()
	ref, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func target1(t testing.TB, s string) Ref {
	t.Helper()
	ref, err := ParseTarget(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func copyImage(t testing.TB, src, dst string) Result {
	t.Helper()
	result, err := Copy(t.Context(), source1(t, src), target1(t, dst), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func inspect(t testing.TB, src string) Image {
	t.Helper()
	image, err := Inspect(t.Context(), source1(t, src), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// serve runs our registry and gives its address.
func serve(t testing.TB) string {
	t.Helper()
	r, err := registry.New(registry.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(r)
	t.Cleanup(func() { server.Close(); _ = r.Close() })
	return strings.TrimPrefix(server.URL, "http://")
}

// skopeo runs the real one.
func skopeo(t testing.TB, arguments ...string) string {
	t.Helper()
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip(`needs skopeo: run "apt-get install skopeo"`)
	}
	out, err := exec.Command("skopeo", append([]string{"--insecure-policy"}, arguments...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("skopeo %s: %v\n%s", strings.Join(arguments, " "), err, out)
	}
	return string(out)
}

// jweKeys makes a key pair in files, as skopeo wants them.
func jweKeys(t testing.TB) (to enc.Recipient, key enc.Key, public, private string) {
	t.Helper()
	pair, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	privateDER, _ := x509.MarshalPKCS8PrivateKey(pair)
	publicDER, _ := x509.MarshalPKIXPublicKey(pair.Public())
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER})
	privatePEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: privateDER})
	if to, err = jwe.Recipient(publicPEM); err != nil {
		t.Fatal(err)
	}
	if key, err = jwe.Key(privatePEM); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	public, private = filepath.Join(dir, "public.pem"), filepath.Join(dir, "private.pem")
	write(t, public, publicPEM)
	write(t, private, privatePEM)
	return to, key, public, private
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
