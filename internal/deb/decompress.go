package deb

import (
	"compress/gzip"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/xi2/xz"
)

// maxWindow bounds the memory that a file can make its reader take: zstd's
// --ultra -22 asks for 128 MiB, xz -9 for 64.
const maxWindow = 128 << 20

// decompress reads what the suffix of a file's name says it is.
func decompress(suffix string, r io.Reader) (io.Reader, error) {
	switch suffix {
	case "":
		return r, nil
	case ".gz":
		return gzip.NewReader(r)
	case ".xz":
		return xz.NewReader(r, maxWindow)
	case ".zst":
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	default:
		return nil, fmt.Errorf("compression %q is not supported (want gz, xz or zst)", suffix)
	}
}
