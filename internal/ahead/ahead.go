// Package ahead reads in the background, so that the two halves of a pipe use
// a processor each.
package ahead

import (
	"io"
	"sync"
)

// Reader reads r in a goroutine of its own, at most 1.5 MiB ahead. Close waits
// for the goroutine; it returns no sooner than r's Read does.
func Reader(r io.Reader) io.ReadCloser {
	a := &reader{full: make(chan chunk, chunks), empty: make(chan []byte, chunks+2), stop: make(chan struct{})}
	a.work.Go(func() { a.run(r) })
	return a
}

const (
	chunks    = 4
	chunkSize = 256 << 10
)

type chunk struct {
	data []byte
	err  error
}

type reader struct {
	full  chan chunk
	empty chan []byte // buffers that were read, to be filled again
	stop  chan struct{}
	work  sync.WaitGroup
	now   chunk
	whole []byte // the buffer that now is the rest of
}

func (a *reader) run(r io.Reader) {
	for {
		b := a.buffer()
		n, err := fill(r, b)
		select {
		case a.full <- chunk{b[:n], err}:
		case <-a.stop:
			return
		}
		if err != nil {
			return
		}
	}
}

func (a *reader) buffer() []byte {
	select {
	case b := <-a.empty:
		return b
	default:
		return make([]byte, chunkSize)
	}
}

// fill reads until b is full or r ends. Unlike io.ReadFull it leaves r's error
// as it is: a cut-off body must never look like a whole one.
func fill(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var more int
		more, err = r.Read(b[n:])
		n += more
	}
	return n, err
}

func (a *reader) Read(p []byte) (int, error) {
	for len(a.now.data) == 0 {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.whole != nil {
			a.empty <- a.whole[:chunkSize]
		}
		a.now = <-a.full
		a.whole = a.now.data
	}
	n := copy(p, a.now.data)
	a.now.data = a.now.data[n:]
	return n, nil
}

func (a *reader) Close() error {
	close(a.stop)
	a.work.Wait()
	return nil
}
