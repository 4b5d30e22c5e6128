package kmod

import (
	"compress/gzip"
	"fmt"
	"io"
	"path"

	"github.com/klauspost/compress/zstd"
	"github.com/xi2/xz"
)

// Open reads a module of the tree, unpacked when it is compressed.
func (t *Tree) Open(m Module) (io.ReadCloser, error) { return t.open(t.paths[m.Name]) }

// maxModule is far above the largest known, a driver of 20 MB.
const maxModule = 256 << 20

// compression is the suffix behind ".ko", or nothing.
func compression(p string) string {
	if ext := path.Ext(p); ext != ".ko" {
		return ext
	}
	return ""
}

func (t *Tree) open(p string) (io.ReadCloser, error) {
	f, err := t.fsys.Open(p)
	if err != nil || compression(p) == "" {
		return f, err
	}
	plain, err := unpack(compression(p), f)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w", path.Base(p), err)
	}
	return unpacked{io.LimitReader(plain, maxModule), f}, nil
}

type unpacked struct {
	io.Reader
	io.Closer
}

// unpack knows what the kernel's build compresses modules with:
// CONFIG_MODULE_COMPRESS_GZIP, _XZ and _ZSTD.
func unpack(suffix string, r io.Reader) (io.Reader, error) {
	switch suffix {
	case ".gz":
		return gzip.NewReader(r)
	case ".xz":
		return xz.NewReader(r, maxModule)
	case ".zst":
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxModule))
	}
	return nil, fmt.Errorf("compression %q is not supported (want gz, xz or zst)", suffix)
}
