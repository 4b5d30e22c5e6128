package deb

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"runtime"

	"github.com/xi2/xz"
)

// Packages of some size are one xz stream of several blocks, each of which
// tells its size before it begins (The .xz File Format 1.2.1, section 3.1). So
// they can be unpacked several at once, each as a stream of its own.
const (
	mostBlocks  = 3        // in memory at once
	largestPack = 16 << 20 // of a block that is held in memory
	largestRaw  = 32 << 20
)

// newXZ reads xz. Close ends what goes on in the background, and waits for it.
func newXZ(r io.Reader) (io.ReadCloser, error) {
	s := &xzStream{in: bufio.NewReaderSize(r, 64<<10)}
	first, err := s.begin()
	if err != nil || first == nil {
		plain, err := xz.NewReader(s.in, maxWindow) // which knows how to say what is wrong
		if err != nil {
			return nil, err
		}
		return io.NopCloser(plain), nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	x := &xzReader{cancel: cancel, done: make(chan struct{}), blocks: make(chan *xzBlock, max(0, min(mostBlocks, runtime.GOMAXPROCS(0))-2))}
	go func() {
		defer close(x.done)
		x.err = s.each(ctx, first, x.blocks)
		close(x.blocks)
	}()
	return x, nil
}

// An xzReader joins blocks in their order.
type xzReader struct {
	cancel context.CancelFunc
	done   chan struct{}
	blocks chan *xzBlock
	err    error // set before blocks closes
	now    *xzBlock
}

func (x *xzReader) Read(p []byte) (int, error) {
	for {
		if err := x.advance(); err != nil {
			return 0, err
		}
		n, err := x.now.raw.Read(p)
		if n > 0 || err == nil {
			return n, nil
		}
		if err == io.EOF {
			err = x.now.err
		}
		if err != nil {
			return 0, err
		}
		x.now.release()
		x.now = nil
	}
}

// advance waits for the next block, when the last was read.
func (x *xzReader) advance() error {
	if x.now != nil {
		return nil
	}
	b, ok := <-x.blocks
	if !ok {
		return cmp.Or(x.err, io.EOF)
	}
	<-b.ready
	x.now = b
	return nil
}

func (x *xzReader) Close() error {
	x.cancel()
	if x.now != nil {
		x.now.release()
		x.now = nil
	}
	for b := range x.blocks {
		<-b.ready
		b.release()
	}
	<-x.done
	return nil
}

// An xzBlock is on its way. What it holds must not be touched before ready.
type xzBlock struct {
	raw   io.Reader
	err   error // behind raw
	ready chan struct{}
	read  chan struct{} // closed by who has read all
}

func (b *xzBlock) release() { close(b.read) }

// each hands out blocks as soon as they are read, and begins to unpack them.
// One that is too large for memory is unpacked while it is read from, and so is
// a stream behind this one.
func (s *xzStream) each(ctx context.Context, h *xzHeader, out chan<- *xzBlock) error {
	for h != nil {
		b := newBlock()
		var err error
		if h.packed > largestPack || h.raw > largestRaw {
			b.raw, b.err = s.unpacked(h, s.in)
			err = b.sendAndWait(ctx, out)
		} else if err = s.unpackLater(h, b); err == nil {
			err = b.send(ctx, out)
		}
		if err != nil {
			return err
		}
		s.records = append(s.records, h.record(s.checkSize()))
		if h, err = s.next(); err != nil {
			return err
		}
	}
	if err := s.end(); err != nil {
		return err
	}
	if _, err := s.in.Peek(1); err == io.EOF {
		return nil
	}
	b := newBlock()
	b.raw, b.err = xz.NewReader(s.in, maxWindow)
	return b.sendAndWait(ctx, out)
}

func newBlock() *xzBlock {
	return &xzBlock{ready: make(chan struct{}), read: make(chan struct{})}
}

func (b *xzBlock) send(ctx context.Context, out chan<- *xzBlock) error {
	select {
	case out <- b:
		return ctx.Err()
	case <-ctx.Done():
		<-b.ready
		return ctx.Err()
	}
}

// sendAndWait hands out the stream's own reader.
func (b *xzBlock) sendAndWait(ctx context.Context, out chan<- *xzBlock) error {
	if b.err != nil {
		return b.err
	}
	close(b.ready)
	select {
	case out <- b:
		<-b.read
	case <-ctx.Done():
	}
	return ctx.Err()
}

func (s *xzStream) unpackLater(h *xzHeader, b *xzBlock) error {
	packed := make([]byte, h.rest(s.checkSize()))
	if _, err := io.ReadFull(s.in, packed); err != nil {
		return cut(err)
	}
	go func() {
		defer close(b.ready)
		r, err := s.unpacked(h, bytes.NewReader(packed))
		if err != nil {
			b.raw, b.err = bytes.NewReader(nil), err
			return
		}
		raw := bytes.NewBuffer(make([]byte, 0, h.raw+bytes.MinRead))
		_, b.err = raw.ReadFrom(r)
		b.raw = raw
	}()
	return nil
}

// unpacked reads one block, whose header is h and whose rest is in r.
func (s *xzStream) unpacked(h *xzHeader, r io.Reader) (io.Reader, error) {
	size := s.checkSize()
	return xz.NewReader(io.MultiReader(bytes.NewReader(s.head[:]), bytes.NewReader(h.bytes),
		io.LimitReader(r, h.rest(size)), bytes.NewReader(s.tail([]xzRecord{h.record(size)}))), maxWindow)
}

var errXZ = errors.New("xz: data is corrupt")
