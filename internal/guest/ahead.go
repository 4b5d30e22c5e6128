package guest

import (
	"io"
	"sync"
)

// readAhead reads r in a goroutine of its own, so that receiving and hashing
// use one processor while decrypting and unpacking use another. Close waits
// for the goroutine; it returns no sooner than r's Read does.
func readAhead(r io.Reader) io.ReadCloser {
	a := &ahead{full: make(chan chunk, aheadChunks), empty: make(chan []byte, aheadChunks+2), stop: make(chan struct{})}
	a.work.Go(func() { a.run(r) })
	return a
}

const (
	aheadChunks = 4
	chunkSize   = 256 << 10
)

type chunk struct {
	data []byte
	err  error
}

type ahead struct {
	full  chan chunk
	empty chan []byte // buffers that were read, to be filled again
	stop  chan struct{}
	work  sync.WaitGroup
	now   chunk
	whole []byte // the buffer that now is the rest of
}

func (a *ahead) run(r io.Reader) {
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

func (a *ahead) buffer() []byte {
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

func (a *ahead) Read(p []byte) (int, error) {
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

func (a *ahead) Close() error {
	close(a.stop)
	a.work.Wait()
	return nil
}
