package image

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/klauspost/compress/zstd"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
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

func (c Compression) check() error {
	if c != "" && c != Zstd && c != Gzip {
		return fmt.Errorf("compression %q: want zstd or gzip", string(c))
	}
	return nil
}

// packLevel is zstd's best: images are made once, and what guests fetch,
// decrypt and unpack is dear.
const (
	packLevel  = zstd.SpeedBestCompression
	packWindow = 8 << 20
	frameSize  = 4 << 20
)

// id names what decides how bytes are packed.
func (c Compression) id() string {
	if c == Gzip {
		return "gzip " + runtime.Version()
	}
	return zstdID("layer", packLevel, packWindow, frameSize)
}

// zstdID names the version of zstd's packer, with how it is used. It is empty
// when the program does not know of what it was built.
func zstdID(how ...any) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == "github.com/klauspost/compress" && m.Replace == nil {
			return "zstd " + m.Version + " " + fmt.Sprint(how...)
		}
	}
	return ""
}

// pack compresses what write writes. Zstd gets a frame for each frameSize
// bytes, several at once: where they end depends on the bytes alone, and RFC
// 8878, section 3, makes of frames in a row one content.
func (c Compression) pack(ctx context.Context, to io.Writer, write func(io.Writer) error) error {
	if c == Gzip {
		z, err := gzip.NewWriterLevel(to, gzip.BestCompression)
		if err != nil {
			return err
		}
		if err := write(z); err != nil {
			return err
		}
		return z.Close()
	}
	workers := runtime.GOMAXPROCS(0)
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(packLevel), zstd.WithEncoderConcurrency(workers), zstd.WithWindowSize(packWindow))
	if err != nil {
		return err
	}
	f := newFrames(ctx, to, enc, workers)
	writeErr := write(f)
	if err := f.close(writeErr == nil); err != nil {
		return err
	}
	return writeErr
}

// frames cuts what is written to it, and writes each piece compressed.
type frames struct {
	ctx   context.Context
	enc   *zstd.Encoder
	group *errgroup.Group // of the one goroutine that writes
	queue chan chan []byte
	slots chan struct{}
	piece []byte
}

func newFrames(ctx context.Context, to io.Writer, enc *zstd.Encoder, workers int) *frames {
	f := &frames{enc: enc, queue: make(chan chan []byte, workers), slots: make(chan struct{}, workers)}
	f.group, f.ctx = errgroup.WithContext(ctx)
	f.group.Go(func() error {
		for packed := range f.queue {
			if _, err := to.Write(<-packed); err != nil {
				return err
			}
		}
		return nil
	})
	return f
}

func (f *frames) Write(p []byte) (n int, err error) {
	for n < len(p) {
		take := min(len(p)-n, frameSize-len(f.piece))
		f.piece = append(f.piece, p[n:n+take]...)
		n += take
		if len(f.piece) == frameSize {
			if err := f.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (f *frames) flush() error {
	select {
	case f.slots <- struct{}{}:
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	}
	packed, piece := make(chan []byte, 1), f.piece
	f.piece = make([]byte, 0, cap(piece))
	go func() {
		defer func() { <-f.slots }()
		packed <- f.enc.EncodeAll(piece, nil)
	}()
	select {
	case f.queue <- packed:
		return nil
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	}
}

// close waits for all that is under way.
func (f *frames) close(whole bool) error {
	var err error
	if whole && len(f.piece) > 0 {
		err = f.flush()
	}
	close(f.queue)
	err = firstError(f.group.Wait(), err)
	for range cap(f.slots) {
		f.slots <- struct{}{}
	}
	return err
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// unpackTo is pack undone.
func (c Compression) unpackTo(to io.Writer, from io.Reader) error {
	if c == Gzip {
		z, err := gzip.NewReader(from)
		if err != nil {
			return err
		}
		_, err = io.Copy(to, z)
		return err
	}
	return unpackZstd(to, from)
}

func unpackZstd(to io.Writer, from io.Reader) error {
	z, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(packWindow))
	if err != nil {
		return err
	}
	defer z.Close()
	_, err = z.WriteTo(to)
	return err
}
