package transport

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// realTar is what images hold: programs and libraries of this machine.
func realTar(b *testing.B) []byte {
	b.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	programs, _ := filepath.Glob("/usr/bin/[a-m]*")
	for _, path := range programs {
		content, err := os.ReadFile(path)
		if err != nil || out.Len() > 24<<20 {
			continue
		}
		_ = w.WriteHeader(&tar.Header{Name: path, Size: int64(len(content)), Typeflag: tar.TypeReg})
		_, _ = w.Write(content)
	}
	if out.Len() < 1<<20 {
		b.Skip("needs a /usr/bin with programs in it")
	}
	return out.Bytes()
}

func BenchmarkPack(b *testing.B) {
	plain := realTar(b)
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		if _, err := io.Copy(io.Discard, pack(bytes.NewReader(plain))); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkUnpack says what a reader pays for each way to pack a layer: time
// over the unpacked size, and what is left to hash and decrypt.
func BenchmarkUnpack(b *testing.B) {
	plain := realTar(b)
	for name, kind := range map[string]layerKind{"gzip": gzipLayer, "zstd": zstdLayer} {
		b.Run(name, func(b *testing.B) {
			packed := kind.pack(b, plain)
			b.SetBytes(int64(len(plain)))
			for b.Loop() {
				r, err := decompress(bytes.NewReader(packed))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, r); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(100*float64(len(packed))/float64(len(plain)), "%size")
		})
	}
}
