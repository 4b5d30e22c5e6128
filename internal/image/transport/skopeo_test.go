package transport

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/enc"
	"holdfast/internal/oci"
)

var layerKinds = map[string]layerKind{"tar": plainLayer, "gzip": gzipLayer, "zstd": zstdLayer}

func TestSkopeoDecryptsWhatWeEncrypt(t *testing.T) {
	for name, kind := range layerKinds {
		plain, sealed, opened := t.TempDir(), t.TempDir(), t.TempDir()
		sample(t, plain, "v1", "amd64", kind)
		to, _, _, private := jweKeys(t)
		if _, err := Encrypt(t.Context(), LayoutRef(plain, "v1"), LayoutRef(sealed, "v1"), []enc.Recipient{to}, Options{}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		skopeo(t, "copy", "--decryption-key", private, "oci:"+sealed+":v1", "oci:"+opened+":v1")
		sameLayers(t, name, inspect(t, "oci:"+opened+":v1"), inspect(t, "oci:"+plain+":v1"))
	}
}

func TestWeDecryptWhatSkopeoEncrypts(t *testing.T) {
	for name, kind := range layerKinds {
		plain, sealed, opened := t.TempDir(), t.TempDir(), t.TempDir()
		sample(t, plain, "v1", "amd64", kind)
		_, key, public, _ := jweKeys(t)
		skopeo(t, "copy", "--encryption-key", "jwe:"+public, "oci:"+plain+":v1", "oci:"+sealed+":v1")
		image := inspect(t, "oci:"+sealed+":v1")
		if !image.Encrypted || image.Layers[0].Problem != "" || image.Layers[0].Keys[0].Scheme != "jwe" {
			t.Fatalf("%s: got %+v, want layers encrypted by jwe", name, image.Layers)
		}
		if _, err := Decrypt(t.Context(), LayoutRef(sealed, "v1"), LayoutRef(opened, ""), []enc.Key{key}, Options{}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		whole(t, name, opened)
	}
}

// whole holds the content of a layout's layers to the config's digests;
// skopeo compresses plain layers, so their own digests differ.
func whole(t testing.TB, what, dir string) {
	t.Helper()
	for _, layer := range inspect(t, "oci:"+dir).Layers {
		f, err := os.Open(filepath.Join(dir, "blobs", "sha256", layer.Digest.Hex()))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		plain, err := decompress(f)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(plain)
		if got := oci.SHA256(content); err != nil || got != layer.DiffID || layer.Encrypted {
			t.Errorf("%s: layer of type %s holds %s and ends in %v, want %s", what, layer.MediaType, got, err, layer.DiffID)
		}
	}
}

func sameLayers(t testing.TB, what string, got, want Image) {
	t.Helper()
	if got.ConfigSum != want.ConfigSum || len(got.Layers) != len(want.Layers) {
		t.Fatalf("%s: got %+v, want %+v", what, got, want)
	}
	for i := range want.Layers {
		if got.Layers[i].Digest != want.Layers[i].Digest || got.Layers[i].Encrypted {
			t.Fatalf("%s: layer %d is %+v, want %+v", what, i, got.Layers[i], want.Layers[i])
		}
	}
}

func TestRegistryTradesWithSkopeo(t *testing.T) {
	host, dir := serve(t), t.TempDir()
	want := sample(t, dir, "v1", "amd64", gzipLayer)
	skopeo(t, "copy", "--dest-tls-verify=false", "oci:"+dir+":v1", "docker://"+host+"/theirs/app:v1")
	if got := copyImage(t, host+"/theirs/app:v1", "oci:"+t.TempDir()); string(got.Digest) != string(want.Digest) {
		t.Errorf("pulled %s, want %s", got.Digest, want.Digest)
	}
	copyImage(t, "oci:"+dir+":v1", host+"/ours/app:v1")
	if out := skopeo(t, "inspect", "--tls-verify=false", "docker://"+host+"/ours/app:v1"); !strings.Contains(out, string(want.Digest)) {
		t.Errorf("skopeo sees %s, want %s", out, want.Digest)
	}
	skopeo(t, "copy", "--src-tls-verify=false", "docker://"+host+"/ours/app:v1", "oci:"+t.TempDir()+":v1")
}

func TestEncryptedImageGoesThroughTheRegistryToSkopeo(t *testing.T) {
	host, dir := serve(t), t.TempDir()
	sample(t, dir, "", "amd64", zstdLayer)
	to, _, _, private := jweKeys(t)
	if _, err := Encrypt(t.Context(), LayoutRef(dir, ""), target1(t, host+"/app:sealed"), []enc.Recipient{to}, Options{}); err != nil {
		t.Fatal(err)
	}
	opened := t.TempDir()
	skopeo(t, "copy", "--src-tls-verify=false", "--decryption-key", private, "docker://"+host+"/app:sealed", "oci:"+opened+":v1")
	sameLayers(t, "zstd", inspect(t, "oci:"+opened+":v1"), inspect(t, "oci:"+dir))
}

func TestArchiveOfSkopeoBecomesTheSameImageEachTime(t *testing.T) {
	dir, file := t.TempDir(), t.TempDir()+"/image.tar"
	sample(t, dir, "v1", "amd64", gzipLayer)
	skopeo(t, "copy", "oci:"+dir+":v1", "docker-archive:"+file+":example/app:v1")
	first := copyImage(t, file, "oci:"+t.TempDir())
	second := copyImage(t, "docker-archive:"+file+":docker.io/example/app:v1", "oci:"+t.TempDir())
	if first.Digest != second.Digest {
		t.Fatalf("got %s, then %s", first.Digest, second.Digest)
	}
	got, want := inspect(t, file), inspect(t, "oci:"+dir+":v1")
	for i := range want.Layers {
		if got.Layers[i].DiffID != want.Layers[i].DiffID {
			t.Errorf("layer %d: holds %s, want %s", i, got.Layers[i].DiffID, want.Layers[i].DiffID)
		}
	}
}
