package transport

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/enc"
	"holdfast/internal/oci"
	"holdfast/internal/registry"
)

func TestCopyKeepsTheDigestEverywhere(t *testing.T) {
	host, dir := serve(t), t.TempDir()
	want := oci.Digest(sample(t, dir, "v1", "amd64", gzipLayer).Digest)
	for _, step := range [][2]string{
		{"oci:" + dir + ":v1", host + "/a/app:v1"},
		{host + "/a/app:v1", host + "/b/app:v2"},
		{host + "/b/app@" + string(want), "oci:" + dir + ":back"},
		{"oci:" + dir + "@" + string(want), "oci:" + t.TempDir()},
	} {
		if got := copyImage(t, step[0], step[1]); got.Digest != want {
			t.Errorf("%s to %s: got %s, want %s", step[0], step[1], got.Digest, want)
		}
	}
}

func TestWhatIsThereIsNotCopiedAgain(t *testing.T) {
	host, dir := serve(t), t.TempDir()
	sample(t, dir, "v1", "amd64", gzipLayer)
	first, again := copyImage(t, "oci:"+dir+":v1", host+"/app:v1"), copyImage(t, "oci:"+dir+":v1", host+"/app:v2")
	if first.Skipped != 0 || again.Skipped == 0 {
		t.Errorf("registry: skipped %d bytes at first, then %d", first.Skipped, again.Skipped)
	}
	if mounted := copyImage(t, host+"/app:v1", host+"/other:v1"); mounted.Skipped == 0 {
		t.Error("blobs were sent although the registry could mount them")
	}
	out := t.TempDir()
	copyImage(t, host+"/app:v1", "oci:"+out)
	if again := copyImage(t, host+"/app:v1", "oci:"+out); again.Skipped == 0 {
		t.Error("layout: blobs were fetched again")
	}
}

func TestIndexGivesTheImageForAMD64(t *testing.T) {
	dir, host := t.TempDir(), serve(t)
	want := multiarch(t, dir)
	if got := copyImage(t, "oci:"+dir+":all", host+"/app:v1"); string(got.Digest) != string(want) {
		t.Fatalf("got %s, want %s", got.Digest, want)
	}
	_, err := Inspect(t.Context(), LayoutRef(dir, "arm64"), Options{Architecture: "amd64"})
	if !errors.Is(err, ErrPlatform) || !strings.Contains(err.Error(), "linux/arm64") {
		t.Fatalf("got %v, want ErrPlatform naming linux/arm64", err)
	}
}

func TestArchitectureIsChosen(t *testing.T) {
	dir := t.TempDir()
	amd64 := oci.Digest(multiarch(t, dir))
	for architecture, want := range map[string]string{"": "linux/amd64", "amd64": "linux/amd64", "arm64": "linux/arm64", "s390x": "linux/s390x"} {
		img, err := Inspect(t.Context(), LayoutRef(dir, "all"), Options{Architecture: architecture})
		if err != nil || img.Platform != want || (img.Digest == amd64) != (want == "linux/amd64") {
			t.Errorf("%q: got %s %s, %v; want %s", architecture, img.Platform, img.Digest, err, want)
		}
	}
	if img, err := Inspect(t.Context(), LayoutRef(dir, "arm64"), Options{}); err != nil || img.Platform != "linux/arm64" {
		t.Errorf("an image by itself: got %s, %v; want what it is for", img.Platform, err)
	}
}

func TestIndexWithoutAMD64SaysWhatThereIs(t *testing.T) {
	_, err := choose([]ocispec.Descriptor{
		{Platform: &ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}},
		{Platform: &ocispec.Platform{OS: "windows", Architecture: "amd64"}},
		{Platform: &ocispec.Platform{OS: "unknown", Architecture: "unknown"}},
	}, "amd64")
	if want := "no image for linux/amd64: there is linux/arm64/v8, windows/amd64"; err == nil || err.Error() != want {
		t.Fatalf("got %v, want %s", err, want)
	}
}

func TestDamagedBlobIsNotCopied(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	sample(t, dir, "v1", "amd64", gzipLayer)
	layer := inspect(t, "oci:"+dir+":v1").Layers[1]
	path := filepath.Join(dir, "blobs", "sha256", layer.Digest.Hex())
	whole, _ := os.ReadFile(path)
	for what, bad := range map[string][]byte{
		"flipped": flip(whole, len(whole)/2), "short": whole[:len(whole)-1], "long": append(bytes.Clone(whole), 0), "empty": nil,
	} {
		write(t, path, bad)
		if _, err := Copy(t.Context(), LayoutRef(dir, "v1"), LayoutRef(out, ""), Options{}); !errors.Is(err, ErrDigest) {
			t.Errorf("%s: got %v, want ErrDigest", what, err)
		}
		if _, err := Inspect(t.Context(), LayoutRef(out, ""), Options{}); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: the destination holds an image: %v", what, err)
		}
	}
	if _, err := os.Stat(filepath.Join(out, "blobs", "sha256", layer.Digest.Hex())); err == nil {
		t.Error("the damaged layer took its name at the destination")
	}
	write(t, path, whole)
	copyImage(t, "oci:"+dir+":v1", "oci:"+out)
	write(t, filepath.Join(out, "blobs", "sha256", layer.Digest.Hex()), flip(whole, 9))
	copyImage(t, "oci:"+dir+":v1", "oci:"+out)
	if got, _ := os.ReadFile(filepath.Join(out, "blobs", "sha256", layer.Digest.Hex())); !bytes.Equal(got, whole) {
		t.Error("a blob that was damaged at the destination stayed so")
	}
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

// The registry breaks off in the middle of a layer, and a second run goes on.
func TestInterruptedPullLeavesNoImageAndIsResumed(t *testing.T) {
	r, err := registry.New(registry.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var layer string
	var broken atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if broken.Load() && q.Method == http.MethodGet && strings.HasSuffix(q.URL.Path, layer) {
			w.Header().Set("Content-Length", "50000")
			_, _ = w.Write(make([]byte, 1000))
			panic(http.ErrAbortHandler)
		}
		r.ServeHTTP(w, q)
	}))
	defer server.Close()
	host, dir, out := strings.TrimPrefix(server.URL, "http://"), t.TempDir(), filepath.Join(t.TempDir(), "new")
	sample(t, dir, "", "amd64", gzipLayer)
	copyImage(t, "oci:"+dir, host+"/app:v1")
	layer = string(inspect(t, "oci:"+dir).Layers[1].Digest)
	broken.Store(true)
	if _, err := Copy(t.Context(), source1(t, host+"/app:v1"), LayoutRef(out, ""), Options{Jobs: 1}); err == nil {
		t.Fatal("no error from a broken connection")
	}
	if _, err := Inspect(t.Context(), LayoutRef(out, ""), Options{}); !errors.Is(err, ErrNotFound) {
		t.Fatalf("got %v, want no image", err)
	}
	broken.Store(false)
	if got := copyImage(t, host+"/app:v1", "oci:"+out); got.Skipped == 0 {
		t.Error("nothing of the first run was used")
	}
	if left, _ := filepath.Glob(filepath.Join(out, "blobs", "sha256", ".tmp-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestCancelledCopyStops(t *testing.T) {
	dir := t.TempDir()
	sample(t, dir, "", "amd64", gzipLayer)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out := filepath.Join(t.TempDir(), "out")
	if _, err := Copy(ctx, LayoutRef(dir, ""), LayoutRef(out, ""), Options{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want context.Canceled", err)
	}
	if _, err := Inspect(t.Context(), LayoutRef(out, ""), Options{}); !errors.Is(err, ErrNotFound) {
		t.Fatalf("got %v, want no image", err)
	}
}

func TestOtherImagesOfALayoutStay(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	sample(t, dir, "v1", "amd64", gzipLayer)
	sample(t, dir, "v2", "amd64", zstdLayer)
	for _, name := range []string{"one", "two"} {
		copyImage(t, "oci:"+dir+":v1", "oci:"+out+":"+name)
	}
	want := copyImage(t, "oci:"+dir+":v2", "oci:"+out+":one")
	if got := inspect(t, "oci:"+out+":one"); got.Digest != want.Digest {
		t.Errorf("one is %s, want %s", got.Digest, want.Digest)
	}
	inspect(t, "oci:"+out+":two")
	_, err := Inspect(t.Context(), LayoutRef(out, ""), Options{})
	if err == nil || !strings.Contains(err.Error(), "name one: two, one") {
		t.Errorf("got %v, want the names", err)
	}
}

// A writer that is killed at the last moment has marked a layout that has no
// index.
func TestALayoutWithoutItsIndexIsWrittenAnew(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	sample(t, dir, "", "amd64", gzipLayer)
	want := copyImage(t, "oci:"+dir, "oci:"+out)
	if err := os.Remove(filepath.Join(out, "index.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := Inspect(t.Context(), LayoutRef(out, ""), Options{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	copyImage(t, "oci:"+dir, "oci:"+out)
	if got := inspect(t, "oci:"+out); got.Digest != want.Digest {
		t.Errorf("got %s, want %s", got.Digest, want.Digest)
	}
}

func TestForeignFolderIsNotWrittenTo(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	sample(t, dir, "", "amd64", gzipLayer)
	write(t, filepath.Join(out, "thesis.txt"), nil)
	if _, err := Copy(t.Context(), LayoutRef(dir, ""), LayoutRef(out, ""), Options{}); err == nil {
		t.Fatal("an image was put beside a person's files")
	}
}

func TestMissingImagesAreCalledMissing(t *testing.T) {
	host, dir := serve(t), t.TempDir()
	sample(t, dir, "v1", "amd64", gzipLayer)
	for _, missing := range []string{
		host + "/none:v1", host + "/none@sha256:" + strings.Repeat("0", 64), "oci:" + dir + ":v2", "oci:" + dir + "@sha256:" + strings.Repeat("0", 64),
		"oci:" + dir + "/none", "docker-archive:" + dir + "/none.tar", "oci:" + t.TempDir(),
	} {
		if _, err := Inspect(t.Context(), source1(t, missing), Options{}); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: got %v, want ErrNotFound", missing, err)
		}
	}
}

func TestEncryptedForTheBrokerAndBack(t *testing.T) {
	host, dir, out := serve(t), t.TempDir(), t.TempDir()
	sample(t, dir, "", "amd64", zstdLayer)
	kid, kek := "kbs:///default/key/app", bytes.Repeat([]byte{3}, 32)
	made, err := Encrypt(t.Context(), LayoutRef(dir, ""), target1(t, host+"/app:v1"), []enc.Recipient{enc.BrokerRecipient(kid, kek)}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	image := inspect(t, host+"/app:v1")
	want := LayerKey{"provider.attestation-agent", kid, "A256GCM"}
	if image.Digest != made.Digest || !image.Encrypted || image.Layers[0].Keys[0] != want || image.Config.Entrypoint[0] != "/bin/app" {
		t.Fatalf("got %+v, want %s with key %+v", image, made.Digest, want)
	}
	if image.Layers[0].MediaType != ocispec.MediaTypeImageLayerZstd+"+encrypted" {
		t.Errorf("got layers of type %s", image.Layers[0].MediaType)
	}
	key := enc.BrokerKey(func(context.Context, string) ([]byte, error) { return kek, nil })
	if _, err := Decrypt(t.Context(), source1(t, host+"/app:v1"), LayoutRef(out, ""), []enc.Key{key}, Options{}); err != nil {
		t.Fatal(err)
	}
	sameLayers(t, "zstd", inspect(t, "oci:"+out), inspect(t, "oci:"+dir))
	wrong := enc.BrokerKey(func(context.Context, string) ([]byte, error) { return make([]byte, 32), nil })
	none := t.TempDir()
	if _, err := Decrypt(t.Context(), source1(t, host+"/app:v1"), LayoutRef(none, ""), []enc.Key{wrong}, Options{}); !errors.Is(err, enc.ErrNoKey) {
		t.Fatalf("got %v, want ErrNoKey", err)
	}
	if _, err := Inspect(t.Context(), LayoutRef(none, ""), Options{}); !errors.Is(err, ErrNotFound) {
		t.Fatalf("got %v, want no image", err)
	}
}

func TestTLSWithOurOwnCA(t *testing.T) {
	r, err := registry.New(registry.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	server := httptest.NewTLSServer(r)
	defer server.Close()
	dir, host := t.TempDir(), strings.TrimPrefix(server.URL, "https://")
	sample(t, dir, "", "amd64", gzipLayer)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if _, err := Copy(t.Context(), LayoutRef(dir, ""), target1(t, host+"/app:v1"), Options{CA: ca}); err != nil {
		t.Fatal(err)
	}
	if _, err := Inspect(t.Context(), source1(t, host+"/app:v1"), Options{}); err == nil {
		t.Fatal("read without the CA")
	}
}

// recorder notes where a request would have gone.
type recorder struct{ url string }

func (r *recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	r.url = q.URL.String()
	return nil, errors.New("not sent")
}

func TestPlainHTTPIsForLoopbackOnly(t *testing.T) {
	for given, want := range map[string]string{
		"https://127.0.0.1:5000/": "http://127.0.0.1:5000/", "http://localhost/": "http://localhost/", "http://[::1]:1/": "http://[::1]:1/",
		"http://10.0.0.1:5000/": "https://10.0.0.1:5000/", "http://192.168.1.1/": "https://192.168.1.1/", "http://x.localhost/": "https://x.localhost/",
	} {
		var seen recorder
		_, _ = schemes{&seen, true}.RoundTrip(httptest.NewRequest("GET", given, nil))
		if seen.url != want {
			t.Errorf("%s: went to %s, want %s", given, seen.url, want)
		}
	}
}

// Whoever can write to the registry alters ciphertext and makes every digest
// right again: only the MAC is left to tell.
func TestAlteredLayerWithRightDigestsIsRefused(t *testing.T) {
	dir, sealed := t.TempDir(), t.TempDir()
	sample(t, dir, "", "amd64", zstdLayer)
	to, key, _, _ := jweKeys(t)
	if _, err := Encrypt(t.Context(), LayoutRef(dir, ""), LayoutRef(sealed, ""), []enc.Recipient{to}, Options{}); err != nil {
		t.Fatal(err)
	}
	img, err := open(t.Context(), LayoutRef(sealed, ""), Options{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := createLayout(t.Context(), LayoutRef(sealed, "altered"))
	if err != nil {
		t.Fatal(err)
	}
	m, old := img.manifest, img.manifest.Layers[1]
	whole, _ := os.ReadFile(filepath.Join(sealed, "blobs", "sha256", old.Digest.Encoded()))
	m.Layers[1] = add(t, w, old.MediaType, flip(whole, len(whole)-1))
	m.Layers[1].Annotations = old.Annotations
	if _, _, err := w.finish(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	out := t.TempDir()
	if _, err := Decrypt(t.Context(), LayoutRef(sealed, "altered"), LayoutRef(out, ""), []enc.Key{key}, Options{}); !errors.Is(err, enc.ErrMAC) {
		t.Fatalf("got %v, want ErrMAC", err)
	}
	if _, err := Inspect(t.Context(), LayoutRef(out, ""), Options{}); !errors.Is(err, ErrNotFound) {
		t.Fatalf("got %v, want no image", err)
	}
}

func TestNamesBelowNamesAndTagsTakenOver(t *testing.T) {
	host, dir := serve(t), t.TempDir()
	sample(t, dir, "one", "amd64", gzipLayer)
	sample(t, dir, "two", "amd64", zstdLayer)
	one, two := copyImage(t, "oci:"+dir+":one", host+"/a:v1"), copyImage(t, "oci:"+dir+":two", host+"/a/b:v1")
	if inspect(t, host+"/a:v1").Digest != one.Digest || inspect(t, host+"/a/b:v1").Digest != two.Digest {
		t.Error("a and a/b are not kept apart")
	}
	copyImage(t, "oci:"+dir+":two", host+"/a:v1")
	if got := inspect(t, host+"/a:v1"); got.Digest != two.Digest {
		t.Errorf("the tag still names %s", got.Digest)
	}
	if got := inspect(t, host+"/a@"+string(one.Digest)); got.Digest != one.Digest {
		t.Errorf("the old image is gone: %+v", got)
	}
	_, err := Copy(t.Context(), LayoutRef(dir, "one"), target1(t, host+"/a/blobs:v1"), Options{})
	if err == nil || !strings.Contains(err.Error(), "NAME_INVALID") {
		t.Errorf("a/blobs: got %v, want NAME_INVALID", err)
	}
}
