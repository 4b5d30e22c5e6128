package transport

import (
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/registry"
)

// A faulty registry passes so many bytes of blobs, up and down, and then
// breaks every connection. It counts those bytes.
type faulty struct {
	http.Handler
	left, moved atomic.Int64
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.Path, "/blobs/") {
		f.Handler.ServeHTTP(w, r)
		return
	}
	r.Body = &faultyBody{r.Body, f}
	f.Handler.ServeHTTP(&faultyWriter{w, f}, r)
}

type faultyBody struct {
	io.ReadCloser
	f *faulty
}

func (b *faultyBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), 32<<10)])
	if cut := b.f.count(n); cut != nil {
		err = cut
	}
	return n, err
}

var errCut = errors.New("the cable was cut")

func (f *faulty) count(n int) error {
	f.moved.Add(int64(n))
	if f.left.Add(-int64(n)) < 0 {
		return errCut
	}
	return nil
}

type faultyWriter struct {
	http.ResponseWriter
	f *faulty
}

func (w *faultyWriter) Write(p []byte) (int, error) {
	if w.f.count(len(p)) != nil {
		panic(http.ErrAbortHandler)
	}
	return w.ResponseWriter.Write(p)
}

const bigLayer = 40 << 20 // more than two chunks

func faultyRegistry(t *testing.T) (f *faulty, host string) {
	t.Helper()
	r, err := registry.New(registry.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	f = &faulty{Handler: r}
	f.left.Store(1 << 40)
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return f, strings.TrimPrefix(server.URL, "http://")
}

// big is an image with a layer that does not compress.
func big(t *testing.T, dir string) {
	t.Helper()
	w, err := createLayout(t.Context(), LayoutRef(dir, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	random := make([]byte, bigLayer)
	_, _ = rand.Read(random)
	m := ocispec.Manifest{Layers: []ocispec.Descriptor{add(t, w, ocispec.MediaTypeImageLayer, random)}}
	m.Config = add(t, w, ocispec.MediaTypeImageConfig, []byte(`{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["`+string(m.Layers[0].Digest)+`"]}}`))
	if _, _, err := w.finish(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func fast(o Options) Options {
	o.Backoff = time.Millisecond
	return o
}

// A run's folder goes with it; what was received stays in Parts.
func TestASecondPullMovesTheRestAlone(t *testing.T) {
	f, host := faultyRegistry(t)
	dir, out, parts := t.TempDir(), t.TempDir(), t.TempDir()
	big(t, dir)
	copyImage(t, "oci:"+dir, host+"/app:v1")
	for _, o := range []Options{{}, {Parts: parts}} {
		f.left.Store(bigLayer / 2)
		if _, err := Copy(t.Context(), source1(t, host+"/app:v1"), LayoutRef(out, ""), fast(o)); err == nil {
			t.Fatal("no error from a registry that breaks every connection")
		}
		if _, err := Inspect(t.Context(), LayoutRef(out, ""), Options{}); !errors.Is(err, ErrNotFound) {
			t.Fatalf("got %v, want no image", err)
		}
		f.left.Store(1 << 40)
		f.moved.Store(0)
		if o.Parts != "" {
			out = t.TempDir()
		}
		got, err := Copy(t.Context(), source1(t, host+"/app:v1"), LayoutRef(out, ""), fast(o))
		if err != nil {
			t.Fatal(err)
		}
		if moved := f.moved.Load(); moved > bigLayer*6/10 || got.Skipped < bigLayer*4/10 {
			t.Errorf("moved %d bytes and skipped %d of %d", moved, got.Skipped, bigLayer)
		}
		if left, _ := filepath.Glob(filepath.Join(out, partsFolder, "*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		out = t.TempDir()
	}
}

func TestAPartOfSomethingElseIsFetchedAnew(t *testing.T) {
	f, host := faultyRegistry(t)
	dir, out := t.TempDir(), t.TempDir()
	big(t, dir)
	copyImage(t, "oci:"+dir, host+"/app:v1")
	layer := inspect(t, "oci:"+dir).Layers[0]
	for name, part := range map[string][]byte{"other-bytes": make([]byte, 1<<20), "too-many": make([]byte, bigLayer+1)} {
		path := filepath.Join(out, name, partsFolder, layer.Digest.Hex())
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, path, part)
		f.moved.Store(0)
		copyImage(t, host+"/app:v1", "oci:"+filepath.Join(out, name))
	}
}

func TestASecondPushMovesTheRestAlone(t *testing.T) {
	f, host := faultyRegistry(t)
	dir := t.TempDir()
	big(t, dir)
	o := fast(Options{Uploads: t.TempDir()})
	f.left.Store(bigLayer / 2)
	if _, err := Copy(t.Context(), LayoutRef(dir, ""), target1(t, host+"/app:v1"), o); err == nil {
		t.Fatal("no error from a registry that breaks every connection")
	}
	f.left.Store(1 << 40)
	f.moved.Store(0)
	if _, err := Copy(t.Context(), LayoutRef(dir, ""), target1(t, host+"/app:v1"), o); err != nil {
		t.Fatal(err)
	}
	if moved := f.moved.Load(); moved > bigLayer*6/10 {
		t.Errorf("moved %d bytes of %d", moved, bigLayer)
	}
	if left, _ := os.ReadDir(o.Uploads); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	inspect(t, host+"/app:v1")
}

func TestAPushGoesOnThroughABrokenConnection(t *testing.T) {
	f, host := faultyRegistry(t)
	dir := t.TempDir()
	big(t, dir)
	f.left.Store(bigLayer / 2)
	time.AfterFunc(100*time.Millisecond, func() { f.left.Store(1 << 40) })
	o := Options{Backoff: 100 * time.Millisecond}
	if _, err := Copy(t.Context(), LayoutRef(dir, ""), target1(t, host+"/app:v1"), o); err != nil {
		t.Fatal(err)
	}
	if moved := f.moved.Load(); moved > bigLayer*12/10 {
		t.Errorf("moved %d bytes of %d", moved, bigLayer)
	}
}

func TestARegistryThatForgotTheUploadIsSentAllOfIt(t *testing.T) {
	f, host := faultyRegistry(t)
	dir := t.TempDir()
	big(t, dir)
	o := fast(Options{Uploads: t.TempDir()})
	layer := inspect(t, "oci:"+dir).Layers[0]
	for repository, kept := range map[string]string{
		"unknown-session": `{"location":"http://` + host + `/v2/unknown-session/blobs/uploads/none"}`,
		"another-host":    `{"location":"http://registry.invalid/v2/another-host/blobs/uploads/none"}`,
		"no-json":         "\x00",
	} {
		target := target1(t, host+"/"+repository+":v1")
		to, err := createRemote(target, o.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		p := &push{remoteTarget: to, b: blob{Descriptor: ocispec.Descriptor{Digest: digest.Digest(layer.Digest)}}}
		write(t, p.file(), []byte(kept))
		f.moved.Store(0)
		if _, err := Copy(t.Context(), LayoutRef(dir, ""), target, o); err != nil || f.moved.Load() < bigLayer {
			t.Errorf("%s: got %v and %d bytes, want all", repository, err, f.moved.Load())
		}
	}
}

// A registry that takes all and then says that it is not what was sent.
func TestARegistryThatFindsEveryUploadWrongIsGivenUp(t *testing.T) {
	f, host := faultyRegistry(t)
	dir := t.TempDir()
	sample(t, dir, "", "amd64", gzipLayer)
	real := f.Handler
	var asked atomic.Int32
	f.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			asked.Add(1)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		real.ServeHTTP(w, r)
	})
	_, err := Copy(t.Context(), LayoutRef(dir, ""), target1(t, host+"/app:v1"), fast(Options{Jobs: 1}))
	if err == nil || asked.Load() > 10 {
		t.Errorf("got %v after %d tries", err, asked.Load())
	}
}

func TestAnAlteredBlobIsNeverNamedByAPush(t *testing.T) {
	f, host := faultyRegistry(t)
	dir := t.TempDir()
	big(t, dir)
	layer := inspect(t, "oci:"+dir).Layers[0]
	path := filepath.Join(dir, "blobs", "sha256", layer.Digest.Hex())
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, flip(raw, 1000))
	if _, err := Copy(t.Context(), LayoutRef(dir, ""), target1(t, host+"/app:v1"), fast(Options{})); !errors.Is(err, ErrDigest) {
		t.Errorf("got %v, want ErrDigest", err)
	}
	if moved := f.moved.Load(); moved > bigLayer+1<<20 {
		t.Errorf("sent %d bytes of %d: it was sent more than once", moved, bigLayer)
	}
}

//fuzz:parser push.go:parseRange
func FuzzParseRange(f *testing.F) {
	for _, word := range []string{"0-0", "0--1", "0-99", "bytes=0-99", "99", "0-99999999999999999999"} {
		f.Add(word)
	}
	f.Fuzz(func(t *testing.T, word string) {
		if n, err := parseRange(word); err == nil && n < 0 {
			t.Errorf("%q: got %d", word, n)
		}
	})
}
