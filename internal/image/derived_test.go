package image

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/blob/derived"
	"holdfast/internal/oci"
	"holdfast/internal/progress"
)

// cached are options with a cache in dir, or none for "".
func cached(t *testing.T, o Options, dir string) Options {
	t.Helper()
	var err error
	if dir != "" {
		o.Derived, err = derived.New(dir, 1<<30)
	}
	check(t, err)
	o.Output = filepath.Join(t.TempDir(), "image")
	return o
}

// both builds a container image and a machine image, and gives what names them.
func both(t *testing.T, o Options, dir string) string {
	t.Helper()
	container, err := BuildOCI(t.Context(), OCIOptions{Options: cached(t, o, dir)})
	check(t, err)
	machine, err := BuildMachine(t.Context(), MachineOptions{Options: cached(t, o, dir)})
	check(t, err)
	return fmt.Sprint(container.Digest, machine.Disk.Digest, machine.SBOM.Digest, machine.Provenance.Digest)
}

func inCache(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	paths, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		check(t, err)
		files[path] = raw
	}
	return files
}

func TestFlippedByteInTheCacheIsNoticedAndMendedAgain(t *testing.T) {
	o, dir := helloOptions(t), t.TempDir()
	want := both(t, o, "")
	if got := both(t, o, dir); got != want {
		t.Fatalf("with an empty cache: got %s, want %s", got, want)
	}
	good := inCache(t, dir)
	if len(good) < 7 { // three packages, two programs' one, layers, an initramfs
		t.Errorf("%d things were kept", len(good))
	}
	if got := both(t, o, dir); got != want {
		t.Errorf("with a warm cache: got %s, want %s", got, want)
	}
	for path, raw := range good {
		bad := bytes.Clone(raw)
		bad[rand.IntN(len(bad))] ^= 1 << rand.IntN(8)
		check(t, os.WriteFile(path, bad, 0o600))
	}
	if got := both(t, o, dir); got != want {
		t.Errorf("with a flipped byte in everything: got %s, want %s", got, want)
	}
	for path, raw := range inCache(t, dir) {
		if !bytes.Equal(raw, good[path]) {
			t.Errorf("%s was not mended", filepath.Base(path))
		}
	}
}

// A cache that lies as a whole, with sums that fit, cannot change what a layer
// or an initramfs holds.
func TestLyingCacheDoesNotChangeWhatIsPacked(t *testing.T) {
	codec, err := newFrameCodec()
	check(t, err)
	cache, err := derived.New(t.TempDir(), 1<<30)
	check(t, err)
	b := &build{Options: Options{Derived: cache}}
	text := func(s string) plain {
		p, err := newPlain(func(w io.Writer) error { _, err := io.WriteString(w, s); return err })
		check(t, err)
		return p
	}
	honest, other := text("honest"), text("other")
	key := derived.KeyOf("packed", codec.id(), string(honest.sum))
	check(t, cache.Put(key, func(w io.Writer) error { return codec.pack(t.Context(), w, other.write) }))
	for range 2 { // it is mended by the first
		var packed, plain bytes.Buffer
		check(t, b.packed(t.Context(), &packed, codec, honest, meter{t.Context(), progress.Silent.Start("", 0, "")}))
		check(t, codec.unpackTo(&plain, &packed))
		if plain.String() != "honest" {
			t.Fatalf("got %q", plain.String())
		}
	}
}

func TestTwoBuildsAtOnceShareACache(t *testing.T) {
	o, dir := helloOptions(t), t.TempDir()
	want := both(t, o, "")
	all := make([]Options, 6)
	for i := range all {
		all[i] = cached(t, o, dir)
	}
	got := make([]oci.Digest, len(all))
	var g errgroup.Group
	for i := range all {
		g.Go(func() error {
			r, err := BuildOCI(t.Context(), OCIOptions{Options: all[i]})
			if err == nil {
				got[i] = r.Digest
			}
			return err
		})
	}
	check(t, g.Wait())
	for _, d := range got {
		if d != got[0] {
			t.Errorf("got %s and %s", d, got[0])
		}
	}
	if again := both(t, o, dir); again != want {
		t.Errorf("afterwards: got %s, want %s", again, want)
	}
}

// A source that changed is another program, whatever is kept.
func TestChangedSourceIsCompiledAgain(t *testing.T) {
	o, dir := helloOptions(t), t.TempDir()
	before := both(t, o, dir)
	source := filepath.Join(o.Recipe.Dir(), "..", "..", "cmd", "hello", "main.go")
	check(t, os.WriteFile(source, []byte("package main\n\nfunc main() { println(\"other\") }\n"), 0o644))
	after := both(t, o, dir)
	if after == before || after != both(t, o, "") {
		t.Errorf("got %s after %s", after, before)
	}
}

// Cancelled wherever it is, a build leaves a cache that the next can use.
func TestBuildThatWasEndedLeavesAGoodCache(t *testing.T) {
	o, dir := helloOptions(t), t.TempDir()
	want := both(t, o, "")
	for fetches := range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		ended := cached(t, o, dir)
		ending := &endingStore{store: ended.Store, cancel: cancel}
		ending.left.Store(int64(fetches))
		ended.Store = ending
		if _, err := BuildMachine(ctx, MachineOptions{Options: ended}); err == nil {
			t.Error("it was not ended")
		}
		cancel()
		if got := both(t, o, dir); got != want {
			t.Errorf("ended after %d packages: got %s, want %s", fetches, got, want)
		}
		check(t, os.RemoveAll(dir))
	}
}

// An endingStore ends a build when it opens packages.
type endingStore struct {
	store
	left   atomic.Int64
	cancel context.CancelFunc
}

type store interface {
	Has(context.Context, oci.Digest) (bool, error)
	Open(context.Context, oci.Digest) (io.ReadCloser, error)
	Put(context.Context, oci.Digest, io.Reader) error
}

func (s *endingStore) Open(ctx context.Context, d oci.Digest) (io.ReadCloser, error) {
	if s.left.Add(-1) < 0 {
		s.cancel()
	}
	return s.store.Open(ctx, d)
}

func TestFramesDoNotDependOnProcessors(t *testing.T) {
	piece := make([]byte, 64<<10)
	chance := rand.NewChaCha8([32]byte{})
	_, _ = chance.Read(piece)
	raw := bytes.Repeat(piece, 3*frameSize/len(piece)+1)
	pack := func(processors, chunk int) []byte {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
		c, err := newFrameCodec()
		check(t, err)
		var packed bytes.Buffer
		check(t, c.pack(t.Context(), &packed, func(w io.Writer) error {
			_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{bytes.NewReader(raw)}, make([]byte, chunk))
			return err
		}))
		var plain bytes.Buffer
		check(t, c.unpackTo(&plain, bytes.NewReader(packed.Bytes())))
		if !bytes.Equal(plain.Bytes(), raw) {
			t.Errorf("%d processors: it unpacks to %d bytes, want %d", processors, plain.Len(), len(raw))
		}
		return packed.Bytes()
	}
	want := pack(1, 1<<20)
	for processors, chunk := range map[int]int{2: 4096, 8: 1<<20 + 1} {
		if !bytes.Equal(pack(processors, chunk), want) {
			t.Errorf("%d processors: other bytes", processors)
		}
	}
}

func TestFullDiskEndsPacking(t *testing.T) {
	c, err := newFrameCodec()
	check(t, err)
	err = c.pack(t.Context(), full{}, func(w io.Writer) error {
		for range 100 {
			if _, err := w.Write(make([]byte, frameSize)); err != nil {
				return err
			}
		}
		return fmt.Errorf("nobody ended it")
	})
	if err != errFull {
		t.Errorf("got %v, want %v", err, errFull)
	}
}

type full struct{}

var errFull = fmt.Errorf("no space left")

func (full) Write([]byte) (int, error) { return 0, errFull }
