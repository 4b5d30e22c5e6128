package robust

import (
	"io"
	"net"
	"sync"
	"testing"

	"holdfast/test/port"
)

// A line leads to a server. It counts the bytes that pass, both ways, and goes
// wrong behind so many.
type line struct {
	t        testing.TB
	address  string // of this end
	to       string
	listener net.Listener

	mu    sync.Mutex // guards what follows
	moved int64
	most  int64 // then it goes wrong
	fault fault
	once  bool // for the connection that met the fault only
	wrong bool // it has gone wrong
	conns map[net.Conn]bool
}

// A fault is what becomes of a network.
type fault string

const (
	reset fault = "reset"      // connections are reset, and others too
	hole  fault = "black hole" // nothing passes any more, and nobody is told
	half  fault = "half"       // half of what is under way passes; the server still hears, and is not heard
	gone  fault = "gone"       // nobody listens
)

var faults = []fault{reset, hole, half, gone}

const endless = 1 << 60

func newLine(t testing.TB, to string) *line {
	t.Helper()
	l := &line{t: t, to: to, address: port.Address(t), most: endless, conns: map[net.Conn]bool{}}
	l.listen()
	t.Cleanup(l.hangUp)
	return l
}

func (l *line) listen() {
	l.t.Helper()
	listener, err := net.Listen("tcp", l.address)
	if err != nil {
		l.t.Fatal(err)
	}
	l.mu.Lock()
	l.listener, l.address = listener, listener.Addr().String()
	l.mu.Unlock()
	go l.serve(listener)
}

func (l *line) serve(listener net.Listener) {
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", l.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		l.mu.Lock()
		l.conns[near], l.conns[far] = true, true
		l.mu.Unlock()
		go l.carry(far, near, true)
		go l.carry(near, far, false)
	}
}

func (l *line) carry(to, from net.Conn, up bool) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		passes, broken := l.pass(n, up)
		if broken != "" {
			_, _ = to.Write(buf[:passes])
			suffer(broken, to, from)
			return
		}
		if _, werr := to.Write(buf[:n]); werr != nil || err != nil {
			_, _ = to.Close(), from.Close()
			return
		}
	}
}

// pass says how much of n bytes passes, and what becomes of the rest.
func (l *line) pass(n int, up bool) (int, fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.moved += int64(n)
	if l.moved <= l.most || l.fault == half && up || l.wrong && l.once {
		return n, ""
	}
	first := !l.wrong
	l.wrong = true
	switch {
	case first && l.fault == half:
		return n / 2, half
	case first && l.fault == gone:
		_ = l.listener.Close()
	}
	return 0, l.fault
}

func suffer(f fault, to, from net.Conn) {
	switch f {
	case gone, reset:
		for _, c := range []net.Conn{to, from} {
			if tcp, ok := c.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = c.Close()
		}
	default:
		_, _ = io.Copy(io.Discard, from) // until somebody gives up
	}
}

// breakAt has the line go wrong behind so many bytes from now.
func (l *line) breakAt(f fault, most int64, once bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault, l.moved, l.most, l.once, l.wrong = f, 0, most, once, false
}

// mend has it work again, and counts anew. It says whether it had gone wrong.
func (l *line) mend() (broke bool) {
	l.t.Helper()
	l.mu.Lock()
	broke = l.wrong
	again := broke && l.fault == gone
	l.fault, l.moved, l.most, l.wrong = "", 0, endless, false
	l.mu.Unlock()
	if again {
		l.listen()
	}
	return broke
}

func (l *line) count() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.moved
}

func (l *line) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.listener.Close()
	for c := range l.conns {
		_ = c.Close()
	}
}
