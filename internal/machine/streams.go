package machine

import (
	"encoding/binary"
	"io"
	"sync"

	"holdfast/internal/api"
)

// Streams are the standard streams of a pod's containers, which share one port.
// A caller that is slow to write keeps all containers of the pod waiting.
type Streams struct {
	s *Stdio

	mu    sync.Mutex
	sinks map[byte]io.WriteCloser // by stream; guarded by mu
	ended bool
}

// Streams takes charge of s, which nobody may Copy then. Run has to be called.
func (s *Stdio) Streams() *Streams { return &Streams{s: s, sinks: map[byte]io.WriteCloser{}} }

// Attach gives a stream's output to w until the stream ends, and closes w then.
// What no writer is attached for is dropped.
func (p *Streams) Attach(stream byte, w io.WriteCloser) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		_ = w.Close()
		return
	}
	if old := p.sinks[stream]; old != nil {
		_ = old.Close()
	}
	p.sinks[stream] = w
}

// Run carries output until the machine ends or breaks the framing.
func (p *Streams) Run() error {
	defer p.s.hasAll()
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
		if len(data) > 0 {
			_, err = w.Write(data)
		}
		if len(data) == 0 || err != nil { // a reader that went away wants no more
			p.detach(stream, w)
		}
	}
}

func (p *Streams) sink(stream byte) io.WriteCloser {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sinks[stream]
}

func (p *Streams) detach(stream byte, w io.WriteCloser) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sinks[stream] == w {
		delete(p.sinks, stream)
		_ = w.Close()
	}
}

func (p *Streams) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	for stream, w := range p.sinks {
		delete(p.sinks, stream)
		_ = w.Close()
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
