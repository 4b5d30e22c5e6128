package machine

import (
	"encoding/binary"
	"io"
	"sync"
	"time"

	"holdfast/internal/api"
)

// Streams are the standard streams of a pod's containers, and of commands in them, which
// share one port. A writer that is slow keeps all of the pod waiting, but for those that
// are attached apart.
type Streams struct {
	s        *Stdio
	patience time.Duration // with who is attached apart
	work     sync.WaitGroup
	over     chan struct{} // closed when no more comes

	mu    sync.Mutex
	sinks map[byte][]io.WriteCloser // by stream, in the order of their turns; guarded by mu
	ended bool
}

// Streams takes charge of s, which nobody may Copy then. Run has to be called.
func (s *Stdio) Streams() *Streams {
	return &Streams{s: s, patience: queueTime, over: make(chan struct{}), sinks: map[byte][]io.WriteCloser{}}
}

// Attach gives a stream's output to w until the stream ends, and closes w then. A stream
// that has a writer ends for that first: the machine gives it to another only when it has ended.
// What no writer is attached for is dropped.
func (p *Streams) Attach(stream byte, w io.WriteCloser) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		_ = w.Close()
		return
	}
	p.sinks[stream] = append(p.sinks[stream], w)
}

// AttachApart is Attach for a writer that may stop: for it, all others wait only while it
// goes on. Once it has stopped for seconds with 256 KiB to come, it gets those, a line that
// says so, and the stream's end. Its Close has to end its Write.
func (p *Streams) AttachApart(stream byte, w io.WriteCloser) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		_ = w.Close()
		return
	}
	q := newQueue(w, p.patience)
	p.work.Go(q.run)
	p.work.Go(func() { q.cut(p.over) })
	p.sinks[stream] = append(p.sinks[stream], q)
}

// Detach takes back what was attached last to a stream that nothing began to write.
func (p *Streams) Detach(stream byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.sinks[stream]); n > 0 {
		_ = p.sinks[stream][n-1].Close()
		p.sinks[stream] = p.sinks[stream][:n-1]
	}
}

// Run carries output until the machine ends or breaks the framing, and all was written.
func (p *Streams) Run() error {
	defer p.s.hasAll()
	defer p.work.Wait()
	defer p.end()
	buf := make([]byte, maxFrame)
	for {
		stream, data, err := readFrame(p.s.conn, buf)
		if err != nil {
			_ = p.s.conn.Close()
			return notGone(err)
		}
		if stream == api.StreamEnd {
			p.s.hasAll()
		}
		w := p.sink(stream)
		if w == nil {
			continue
		}
		if len(data) == 0 {
			p.next(stream)
		} else if _, err := w.Write(data); err != nil {
			p.silence(stream) // a reader that went away wants no more
		}
	}
}

func (p *Streams) sink(stream byte) io.WriteCloser {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.sinks[stream]) == 0 {
		return nil
	}
	return p.sinks[stream][0]
}

// next ends a stream for its writer.
func (p *Streams) next(stream byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if all := p.sinks[stream]; len(all) > 0 {
		_ = all[0].Close()
		p.sinks[stream] = all[1:]
	}
}

// silence drops what comes until the stream ends.
func (p *Streams) silence(stream byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if all := p.sinks[stream]; len(all) > 0 {
		_ = all[0].Close()
		all[0] = nobody{}
	}
}

type nobody struct{}

func (nobody) Write(b []byte) (int, error) { return len(b), nil }
func (nobody) Close() error                { return nil }

func (p *Streams) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	close(p.over)
	for stream, all := range p.sinks {
		for _, w := range all {
			_ = w.Close()
		}
		delete(p.sinks, stream)
	}
}

// Input writes to a stream that is a container's input; Close ends it.
func (p *Streams) Input(stream byte) io.WriteCloser { return &podInput{p.s, stream} }

type podInput struct {
	s      *Stdio
	stream byte
}

func (i *podInput) Write(b []byte) (int, error) {
	sent := 0
	for sent < len(b) {
		n := min(len(b)-sent, maxFrame)
		if err := i.s.frame(i.stream, b[sent:sent+n]); err != nil {
			return sent, err
		}
		sent += n
	}
	return sent, nil
}

func (i *podInput) Close() error { return i.s.frame(i.stream, nil) }

func header(stream byte, size int) []byte {
	h := make([]byte, frameHeader, frameHeader+size)
	h[0] = stream
	binary.BigEndian.PutUint32(h[1:], uint32(size))
	return h
}
