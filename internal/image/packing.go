package image

import (
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/klauspost/compress/zstd"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Compression of the layer.
type Compression string

// The compressions. Zstd is the default: a guest unpacks it several times
// faster than gzip, and skopeo, podman, containerd and Docker 23 read it.
const (
	Zstd Compression = "zstd"
	Gzip Compression = "gzip"
)

func (c Compression) mediaType() string {
	if c == Gzip {
		return v1.MediaTypeImageLayerGzip
	}
	return v1.MediaTypeImageLayerZstd
}

// codec packs the layers of one image, several at once.
func (c Compression) codec() (codec, error) {
	switch cmp.Or(c, Zstd) {
	case Gzip:
		return gzipCodec{}, nil
	case Zstd:
		return newFrameCodec()
	default:
		return nil, fmt.Errorf("compression %q: want zstd or gzip", string(c))
	}
}

type gzipCodec struct{}

func (gzipCodec) id() string { return "gzip " + runtime.Version() }

func (gzipCodec) pack(_ context.Context, to io.Writer, write func(io.Writer) error) error {
	z, err := gzip.NewWriterLevel(to, gzip.BestCompression)
	if err != nil {
		return err
	}
	if err := write(z); err != nil {
		return err
	}
	return z.Close()
}

func (gzipCodec) unpackTo(to io.Writer, from io.Reader) error {
	z, err := gzip.NewReader(from)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, z)
	return err
}

// packLevel is zstd's best, about level 11 of its own program: images are made
// once, and what guests fetch, decrypt and unpack is dear.
const packLevel = zstd.SpeedBestCompression

// zstdID names the version of zstd's packer, with how it is used. It is empty
// when neither the packer's version nor this program is known.
func zstdID(how ...any) string {
	version := packerVersion()
	if version == "" { // as in programs of "go test"
		version = ownSum()
	}
	if version == "" {
		return ""
	}
	return "zstd " + version + " " + fmt.Sprint(how...)
}

func packerVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == "github.com/klauspost/compress" && m.Replace == nil {
			return m.Version
		}
	}
	return ""
}

// ownSum names this program, and so all that it is built of, by its bytes.
func ownSum() string {
	sum := sha256.New()
	f, err := os.Open("/proc/self/exe")
	if err == nil {
		_, err = io.Copy(sum, f)
		_ = f.Close()
	}
	if err != nil {
		return ""
	}
	return string(sumOf(sum))
}

func unpackZstd(to io.Writer, from io.Reader) error {
	z, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(initrdWindow))
	if err != nil {
		return err
	}
	defer z.Close()
	_, err = z.WriteTo(to)
	return err
}
