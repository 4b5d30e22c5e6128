package guest

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/klauspost/compress/zstd"

	"holdfast/internal/ahead"
)

// A layer of half a gigabyte goes through read-ahead, decompression and
// unpacking; each file replaces the one before, so that no disk fills.
func TestUnpackingHoldsLittleHoweverLargeTheLayer(t *testing.T) {
	const files, size, most = 1024, 512 << 10, 40 << 20
	defer debug.SetGCPercent(debug.SetGCPercent(20)) // what is garbage is not held
	layer, peak := endlessLayer(files, size)
	dir := t.TempDir()
	tree, err := openTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	body := ahead.Reader(layer)
	defer body.Close()
	if err := unpackFrom(body, "application/vnd.oci.image.layer.v1.tar+zstd", newUnpacker(tree)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "file")); err != nil || info.Size() != size {
		t.Fatalf("got %v, %v, want the last file", info, err)
	}
	if got := <-peak; got > most {
		t.Errorf("held %d MiB, want at most %d", got>>20, most>>20)
	} else {
		t.Logf("held %d MiB of a layer of %d MiB", got>>20, files*size>>20)
	}
}

// endlessLayer makes a layer while it is read, and then tells the most that
// the heap held meanwhile, the making of it included.
func endlessLayer(files, size int) (io.Reader, <-chan uint64) {
	r, w := io.Pipe()
	peak := make(chan uint64, 1)
	go func() {
		most, err := writeLayer(w, files, make([]byte, size))
		w.CloseWithError(err)
		peak <- most
	}()
	return r, peak
}

func writeLayer(w io.Writer, files int, content []byte) (most uint64, err error) {
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return 0, err
	}
	out := tar.NewWriter(z)
	var memory runtime.MemStats
	for i := range files {
		copy(content, fmt.Sprintf("number %d", i))
		if err := out.WriteHeader(&tar.Header{Name: "file", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}); err != nil {
			return most, err
		}
		if _, err := out.Write(content); err != nil {
			return most, err
		}
		if i%16 == 0 {
			runtime.ReadMemStats(&memory)
			most = max(most, memory.HeapInuse)
		}
	}
	if err := out.Close(); err != nil {
		return most, err
	}
	return most, z.Close()
}
