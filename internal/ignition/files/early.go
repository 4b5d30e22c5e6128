package files

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
)

// So many bodies are fetched before their turn, each in memory: one that fills
// its place is fetched again when its turn comes, straight to its file.
const (
	earlyBodies = 4
	earlySize   = 128 << 10
)

// An early fetcher asks servers for the next small files while those before
// are written: what a thousand of them take is mostly waiting.
type early struct {
	ignition.Fetch
	free  chan []byte
	work  sync.WaitGroup
	mu    sync.Mutex
	slots map[*string]*slot // by the source in the config; nil: its turn came first; guarded by mu
}

type slot struct {
	body     []byte
	err      error
	tooLarge bool
	done     chan struct{}
}

// newEarly begins with the sources in the order of their turns; stop ends it.
func newEarly(ctx context.Context, fetch ignition.Fetch, list []types.Resource) (e *early, stop func()) {
	e = &early{Fetch: fetch, free: make(chan []byte, earlyBodies), slots: map[*string]*slot{}}
	if len(list) < 2 {
		return e, func() {}
	}
	for range earlyBodies {
		e.free <- nil
	}
	ctx, cancel := context.WithCancel(ctx)
	e.work.Go(func() { e.run(ctx, list) })
	return e, func() { cancel(); e.work.Wait() }
}

func (e *early) run(ctx context.Context, list []types.Resource) {
	for _, r := range list {
		select {
		case body := <-e.free:
			e.begin(ctx, r, body[:0])
		case <-ctx.Done():
			return
		}
	}
}

func (e *early) begin(ctx context.Context, r types.Resource, body []byte) {
	s := &slot{body: body, done: make(chan struct{})}
	e.mu.Lock()
	_, late := e.slots[r.Source]
	if !late {
		e.slots[r.Source] = s
	}
	e.mu.Unlock()
	if late {
		e.free <- body
		return
	}
	e.work.Go(func() {
		defer close(s.done)
		s.err = e.Fetch(ctx, r, s)
	})
}

var errLarge = errors.New("too large to be fetched before its turn")

func (s *slot) Write(b []byte) (int, error) {
	if len(s.body)+len(b) >= earlySize {
		s.tooLarge = true
		return 0, errLarge
	}
	s.room()
	s.body = append(s.body, b...)
	return len(b), nil
}

// ReadFrom spares io.Copy a buffer of its own.
func (s *slot) ReadFrom(r io.Reader) (n int64, err error) {
	s.room()
	for err == nil && len(s.body) < earlySize {
		var got int
		got, err = r.Read(s.body[len(s.body):earlySize])
		s.body = s.body[:len(s.body)+got]
		n += int64(got)
	}
	switch {
	case err == io.EOF:
		return n, nil
	case err == nil:
		s.tooLarge, err = true, errLarge
	}
	return n, err
}

func (s *slot) room() {
	if s.body == nil {
		s.body = make([]byte, 0, earlySize)
	}
}

// get writes what r names to w, when its turn has come.
func (e *early) get(ctx context.Context, r types.Resource, w io.Writer) error {
	e.mu.Lock()
	s := e.slots[r.Source]
	e.slots[r.Source] = nil
	e.mu.Unlock()
	if s == nil {
		return e.Fetch(ctx, r, w)
	}
	<-s.done
	defer func() { e.free <- s.body }()
	switch {
	case s.tooLarge:
		return e.Fetch(ctx, r, w)
	case s.err != nil:
		return s.err
	}
	_, err := w.Write(s.body)
	return err
}

// remotes are the contents of entries that servers have.
func remotes(entries []entry) []types.Resource {
	var list []types.Resource
	for _, e := range entries {
		if source := e.contents.Source; source != nil && strings.HasPrefix(*source, "http") {
			list = append(list, e.contents)
		}
	}
	return list
}
