package registry

import (
	"context"
	"net/http"
)

func (f *fetch) open(total int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.opened {
		f.opened, f.total = true, total
	}
	f.grown.Broadcast()
}

func (f *fetch) grow(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.written += int64(n)
	f.grown.Broadcast()
}

func (f *fetch) finish(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done, f.err = true, err
	f.grown.Broadcast()
}

func (f *fetch) isDone() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.done
}

func (f *fetch) wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.grown.Broadcast()
}

// wait blocks until ready says so or the client is gone; f.mu is held.
func (f *fetch) wait(ctx context.Context, ready func() bool) error {
	for !ready() && !f.done {
		if err := ctx.Err(); err != nil {
			return err
		}
		f.grown.Wait()
	}
	if f.done && f.err != nil {
		return f.err
	}
	return nil
}

// begun waits for a source to answer, and gives the blob's size if it knows.
func (f *fetch) begun(ctx context.Context) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.wait(ctx, func() bool { return f.opened })
	return f.total, err
}

func (f *fetch) whole(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wait(ctx, func() bool { return false })
}

// copyTo sends the blob as it comes.
func (f *fetch) copyTo(ctx context.Context, w http.ResponseWriter) error {
	buf := chunks.Get().(*[]byte)
	defer chunks.Put(buf)
	for at := int64(0); ; {
		end, done, err := f.readable(ctx, at)
		if err != nil || done && at == end {
			return err
		}
		n, err := f.file.ReadAt((*buf)[:min(int64(len(*buf)), end-at)], at)
		if n == 0 {
			return err
		}
		if _, err := w.Write((*buf)[:n]); err != nil {
			return err
		}
		if at += int64(n); at == end {
			_ = http.NewResponseController(w).Flush() // best effort
		}
	}
}

// readable waits for bytes after at, and says where they end: before the last
// one until the digest was found right.
func (f *fetch) readable(ctx context.Context, at int64) (end int64, done bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.wait(ctx, func() bool { return f.written-1 > at }); err != nil {
		return 0, false, err
	}
	if f.done {
		return f.written, true, nil
	}
	return f.written - 1, false, nil
}
