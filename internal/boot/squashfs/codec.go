package squashfs

import (
	"bytes"
	"cmp"
	"errors"
	"runtime"

	"github.com/klauspost/compress/zstd"
)

// A codec packs blocks as zstd frames, each by itself.
type codec struct {
	workers int
	enc     *zstd.Encoder
	dec     *zstd.Decoder
}

// newCodec compresses well rather than fast. The kernel has a window of one
// block (fs/squashfs/zstd_wrapper.c), and the hash tree finds what a checksum would.
func newCodec(workers int) (*codec, error) {
	c := &codec{workers: cmp.Or(workers, runtime.GOMAXPROCS(0))}
	var encErr, decErr error
	c.enc, encErr = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithWindowSize(blockSize),
		zstd.WithSingleSegment(true), zstd.WithEncoderCRC(false), zstd.WithEncoderConcurrency(c.workers))
	c.dec, decErr = zstd.NewReader(nil, zstd.WithDecoderConcurrency(c.workers), zstd.WithDecoderMaxMemory(blockSize))
	return c, errors.Join(encErr, decErr)
}

func (c *codec) close() { c.dec.Close() }

func (c *codec) pack(raw []byte) []byte { return c.enc.EncodeAll(raw, make([]byte, 0, len(raw))) }

func (c *codec) unpacksTo(packed, raw []byte) bool {
	got, err := c.dec.DecodeAll(packed, make([]byte, 0, len(raw)))
	return err == nil && bytes.Equal(got, raw)
}
