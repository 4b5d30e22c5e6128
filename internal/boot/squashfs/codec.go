package squashfs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/klauspost/compress/zstd"
)

// A codec packs blocks as zstd frames, each by itself.
type codec struct {
	workers int
	enc     *zstd.Encoder
	dec     *zstd.Decoder
}

const level = zstd.SpeedBetterCompression

// newCodec compresses well rather than fast. The kernel has a window of one
// block (fs/squashfs/zstd_wrapper.c), and the hash tree finds what a checksum would.
func newCodec(workers int) (*codec, error) {
	c := &codec{workers: cmp.Or(workers, runtime.GOMAXPROCS(0))}
	var encErr, decErr error
	c.enc, encErr = zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithWindowSize(blockSize),
		zstd.WithSingleSegment(true), zstd.WithEncoderCRC(false), zstd.WithEncoderConcurrency(c.workers))
	c.dec, decErr = zstd.NewReader(nil, zstd.WithDecoderConcurrency(c.workers), zstd.WithDecoderMaxMemory(blockSize))
	return c, errors.Join(encErr, decErr)
}

// CodecID names what decides how a block is compressed. Blocks that were kept
// under another name are of no use. It is empty when the program does not know
// of what it was built.
func CodecID() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == "github.com/klauspost/compress" && m.Replace == nil {
			return fmt.Sprintf("squashfs %d %s %s", blockSize, level, m.Version)
		}
	}
	return ""
}

func (c *codec) close() { c.dec.Close() }

func (c *codec) pack(raw []byte) []byte { return c.enc.EncodeAll(raw, make([]byte, 0, len(raw))) }

func (c *codec) unpacksTo(packed, raw []byte) bool {
	got, err := c.dec.DecodeAll(packed, make([]byte, 0, len(raw)))
	return err == nil && bytes.Equal(got, raw)
}
