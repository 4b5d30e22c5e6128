package guest

import (
	"io"
	"sync"
)

// readAhead reads r in a goroutine of its own, so that receiving and hashing
// use one processor while decrypting and unpacking use another. Close waits
// for the goroutine; it returns no sooner than r's Read does.
func readAhead(r io.Reader) io.ReadCloser {
	a := &ahead{full: make(chan chunk, aheadChunks), stop: make(chan struct{})}
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
	full chan chunk
	stop chan struct{}
	work sync.WaitGroup
	now  chunk
}

func (a *ahead) run(r io.Reader) {
	for {
		b := make([]byte, chunkSize)
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
		a.now = <-a.full
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
