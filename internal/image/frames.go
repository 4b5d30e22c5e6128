package image

import (
	"context"
	"io"
	"runtime"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
)

// A frameCodec makes a zstd frame of each frameSize bytes, several at once.
// Where they end depends on the bytes alone, so processors change nothing; and
// frames in a row are one content (RFC 8878, section 3). The price is 1 % in
// size.
type frameCodec struct {
	enc   *zstd.Encoder
	slots chan struct{} // one for each frame in memory
}

const (
	frameSize   = 4 << 20
	mostPackers = 2 // 50 MB each, and a build shall do with 300
)

func newFrameCodec() (*frameCodec, error) {
	workers := min(mostPackers, runtime.GOMAXPROCS(0))
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(packLevel), zstd.WithWindowSize(frameSize),
		zstd.WithEncoderConcurrency(workers), zstd.WithLowerEncoderMem(true))
	return &frameCodec{enc, make(chan struct{}, workers)}, err
}

func (c *frameCodec) id() string { return zstdID("frames ", packLevel, frameSize) }

func (c *frameCodec) unpackTo(to io.Writer, from io.Reader) error { return unpackZstd(to, from) }

func (c *frameCodec) pack(ctx context.Context, to io.Writer, write func(io.Writer) error) error {
	var g errgroup.Group
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f := &frames{ctx: ctx, cancel: cancel, codec: c, queue: make(chan chan []byte, cap(c.slots))}
	g.Go(func() error { return f.copyTo(to) })
	g.Go(func() error {
		defer close(f.queue)
		if err := write(f); err != nil {
			return err
		}
		return f.flush()
	})
	return g.Wait()
}

// frames cuts what is written to it.
type frames struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	codec  *frameCodec
	queue  chan chan []byte // frames that are coming, in order
	piece  []byte
}

// copyTo writes the frames. After an error it only waits for those that are
// still coming.
func (f *frames) copyTo(to io.Writer) (err error) {
	for frame := range f.queue {
		packed := <-frame
		<-f.codec.slots
		if err != nil {
			continue
		}
		if _, err = to.Write(packed); err != nil {
			f.cancel(err)
		}
	}
	return err
}

func (f *frames) Write(p []byte) (n int, err error) {
	for n < len(p) {
		if f.piece == nil {
			f.piece = make([]byte, 0, frameSize)
		}
		take := min(len(p)-n, frameSize-len(f.piece))
		f.piece = append(f.piece, p[n:n+take]...)
		n += take
		if len(f.piece) == frameSize {
			if err := f.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, context.Cause(f.ctx)
}

// flush has what was cut packed, once there is a slot for it.
func (f *frames) flush() error {
	if len(f.piece) == 0 {
		return nil
	}
	select {
	case f.codec.slots <- struct{}{}:
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	}
	frame, piece := make(chan []byte, 1), f.piece
	f.piece = nil
	f.queue <- frame
	go func() { frame <- f.codec.enc.EncodeAll(piece, nil) }()
	return nil
}
