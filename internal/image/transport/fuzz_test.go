package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/enc"
	"holdfast/internal/oci"
)

//fuzz:parser ref.go
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"redis:7", "oci:d:v1", "-", "host:1/a/../b@sha256:1", "docker-archive:f:a/b:c", "./x.tar", "docker://a",
		"localhost:5000/a/b@sha256:" + strings.Repeat("0", 64), "oci:d@sha256:" + strings.Repeat("0", 64)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := Parse(s)
		if err != nil {
			return
		}
		if ref.Kind == Registry && strings.Contains("/"+ref.Remote.Context().RepositoryStr()+"/", "/../") {
			t.Errorf("%q climbs: %s", s, ref)
		}
		again, err := Parse(ref.String())
		if err != nil || again.String() != ref.String() {
			t.Errorf("%q became %q, which reads as %q and %v", s, ref, again, err)
		}
		if target, err := ParseTarget(s); err == nil && (target.Kind == Archive || target.Digest != "") {
			t.Errorf("%q can be written to: %+v", s, target)
		}
	})
}

// documents is a source that gives what the fuzzer wants.
type documents struct {
	top, image, config []byte // an index or nil, a manifest, a config
	mediaType          string // of the manifest, where there is no index
}

func descriptor(mediaType string, b []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.Digest(oci.SHA256(b)), Size: int64(len(b))}
}

func (d documents) root(context.Context) (ocispec.Descriptor, []byte, error) {
	if d.top != nil {
		return descriptor(ocispec.MediaTypeImageIndex, d.top), d.top, nil
	}
	return descriptor(d.mediaType, d.image), d.image, nil
}

func (d documents) Close() error { return nil }

func (d documents) tagged(context.Context, string) (ocispec.Descriptor, []byte, error) {
	return ocispec.Descriptor{}, nil, ErrNotFound
}

func (d documents) referrers(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	return nil, nil
}

func (d documents) blob(_ context.Context, desc ocispec.Descriptor, from int64) (io.ReadCloser, error) {
	for _, b := range [][]byte{d.config, d.image, d.top} {
		if digest.Digest(oci.SHA256(b)) == desc.Digest {
			return io.NopCloser(bytes.NewReader(b[from:])), nil
		}
	}
	return nil, os.ErrNotExist
}

func (d documents) manifest(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	r, err := d.blob(ctx, desc, 0)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// An image that is taken is for linux/amd64, of one type only, and names every
// blob by a digest and a size. CONFIG and MANIFEST stand for the digests.
//
//fuzz:parser image.go inspect.go:inspectLayer,inspectKeys,inspectJWE verify.go
func FuzzImage(f *testing.F) {
	config := []byte(`{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["sha256:00"]}}`)
	manifest := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"CONFIG","size":89},` +
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+zstd+encrypted","digest":"CONFIG","size":1,` +
		`"annotations":{"org.opencontainers.image.enc.pubopts":"e30=","org.opencontainers.image.enc.keys.jwe":"eyJwcm90ZWN0ZWQiOiJleUpoYkdjaU9pSmthWElpZlEifQ=="}}]}`)
	index := []byte(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"MANIFEST","size":1,"platform":{"os":"linux","architecture":"amd64"}}]}`)
	f.Add([]byte(nil), manifest, config, ocispec.MediaTypeImageManifest)
	f.Add(index, manifest, config, "")
	f.Add([]byte(nil), bytes.Replace(manifest, []byte("oci.image.manifest.v1"), []byte("oci.image.index.v1"), 1), config, dockerManifest)
	f.Fuzz(func(t *testing.T, index, manifest, config []byte, mediaType string) {
		manifest = bytes.ReplaceAll(manifest, []byte("CONFIG"), []byte(oci.SHA256(config)))
		src := documents{image: manifest, config: config, mediaType: mediaType}
		if len(index) > 0 {
			src.top = bytes.ReplaceAll(index, []byte("MANIFEST"), []byte(oci.SHA256(manifest)))
		}
		img, err := load(t.Context(), src, "")
		if err != nil {
			return
		}
		if img.config.OS != "linux" || img.config.Architecture == "" || img.manifest.MediaType != "" && img.manifest.MediaType != img.desc.MediaType {
			t.Errorf("took %+v of %q", img.config.Platform, img.desc.MediaType)
		}
		for _, desc := range img.blobs() {
			if desc.Digest.Validate() != nil || desc.Size < 0 {
				t.Errorf("took blob %+v", desc)
			}
		}
		for _, desc := range img.manifest.Layers {
			if l := inspectLayer(desc); l.Encrypted != enc.IsEncrypted(desc.MediaType) || !l.Encrypted && (l.Cipher != "" || l.Keys != nil) {
				t.Errorf("layer %+v shows as %+v", desc, l)
			}
		}
	})
}

// A folder of anybody's: no blob is looked for outside it.
//
//fuzz:parser layout.go
func FuzzLayout(f *testing.F) {
	index := []byte(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"MANIFEST","size":2,"annotations":{"org.opencontainers.image.ref.name":"v1"}}]}`)
	f.Add([]byte(`{"imageLayoutVersion":"1.0.0"}`), index, []byte("{}"), "v1")
	f.Add([]byte(`{"imageLayoutVersion":"1.0.0"}`), bytes.Replace(index, []byte("MANIFEST"), []byte("sha256:../../../outside"), 1), []byte("{}"), "")
	f.Add([]byte(`{"imageLayoutVersion":"2"}`), index, []byte("{}"), "")
	f.Fuzz(func(t *testing.T, version, index, manifest []byte, name string) {
		dir := t.TempDir()
		d := oci.SHA256(manifest)
		index = bytes.ReplaceAll(index, []byte("MANIFEST"), []byte(d))
		for file, b := range map[string][]byte{ocispec.ImageLayoutFile: version, ocispec.ImageIndexFile: index, "blobs/sha256/" + d.Hex(): manifest} {
			file = filepath.Join(dir, file)
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, b, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		l, err := openLayout(LayoutRef(dir, name))
		if err != nil {
			return
		}
		for _, desc := range l.index.Manifests {
			if p, err := blobPath(dir, desc); err == nil && path.Dir(path.Dir(p)) != filepath.Join(dir, "blobs") {
				t.Errorf("digest %q is looked for at %s", desc.Digest, p)
			}
		}
		desc, raw, err := l.root(t.Context())
		if err == nil && (!bytes.Equal(raw, manifest) || oci.Digest(desc.Digest) != d) {
			t.Errorf("%s gave %q", desc.Digest, raw)
		}
	})
}

//fuzz:parser archive.go:parseArchiveManifest,check
func FuzzArchiveManifest(f *testing.F) {
	f.Add([]byte(`[{"Config":"c.json","RepoTags":["a:b"],"Layers":["l.tar"]}]`), "")
	f.Add([]byte(`[{},{}]`), "a:b")
	f.Fuzz(func(t *testing.T, raw []byte, name string) {
		image, err := parseArchiveManifest(raw, name)
		if err == nil && (image.Config == "" || len(image.Layers) == 0 || name != "" && !strings.Contains(strings.Join(image.RepoTags, "\n"), name)) {
			t.Errorf("asked for %q and took %+v", name, image)
		}
	})
}

// What an archive's own documents name is read from inside the archive, and is
// no longer than it.
//
//fuzz:parser archive.go
func FuzzArchive(f *testing.F) {
	layer := tarOf(f, "a", 100)
	manifest := []byte(`[{"Config":"c.json","Layers":["l","m","../../etc/passwd"]}]`)
	f.Add(archiveOf(f, file{"manifest.json", manifest, ""}, file{"c.json", dockerConfig1(f, layer), ""}, file{"l", layer, ""}, file{"m", nil, "l"}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		in, err := os.CreateTemp(t.TempDir(), "a")
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		if _, err := in.Write(raw); err != nil {
			t.Fatal(err)
		}
		a, err := indexArchive(t.Context(), in)
		if err != nil {
			return
		}
		for name, s := range a.files {
			if s.offset < 0 || s.size < 0 || s.offset > int64(len(raw)) {
				t.Errorf("%q lies at %d with %d bytes of %d", name, s.offset, s.size, len(raw))
			}
		}
		image, err := a.pick("")
		if err != nil {
			return
		}
		for _, name := range append(image.Layers, image.Config) {
			b, err := a.read(name)
			if err == nil && !bytes.Contains(raw, b) {
				t.Errorf("%q has bytes that the archive has not", name)
			}
		}
	})
}

// The headers of wrapped keys are shown, never followed.
//
//fuzz:parser inspect.go:inspectKeys,inspectJWE
func FuzzInspectKeys(f *testing.F) {
	f.Add("jwe", []byte(`{"protected":"eyJhbGciOiJkaXIifQ","recipients":[{"header":{"kid":"a","alg":"RSA-OAEP"}},{}]}`))
	f.Add("provider.attestation-agent", []byte(`{"kid":"kbs:///a/b/c","wrapped_data":"","iv":"","wrap_type":"A256GCM"}`))
	f.Fuzz(func(t *testing.T, scheme string, packet []byte) {
		keys := inspectKeys(scheme, packet)
		if len(keys) == 0 || len(keys) > len(packet)+1 {
			t.Errorf("%d keys of %d bytes", len(keys), len(packet))
		}
		for _, k := range keys {
			if k.Scheme != scheme {
				t.Errorf("scheme %q became %q", scheme, k.Scheme)
			}
		}
		if _, err := json.Marshal(keys); err != nil {
			t.Error(err)
		}
	})
}
