package machine

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// A sink is a buffer that knows when it was closed.
type sink struct {
	bytes.Buffer
	closed bool
}

func (s *sink) Close() error { s.closed = true; return nil }

func TestEachStreamEndsWhereItIsAttached(t *testing.T) {
	const wire = "\x01\x00\x00\x00\x01a" + "\x05\x00\x00\x00\x01b" + "\x09\x00\x00\x00\x01c" + "\x01\x00\x00\x00\x00" + "\x01\x00\x00\x00\x01d" + "\x01\x00\x00\x00\x00" + "\x01\x00\x00\x00\x01f" + "\x05\x00\x00\x00\x01e"
	p := newStdio(replay{Reader: strings.NewReader(wire)}).Streams()
	var one, two, next, never sink
	p.Attach(1, &one)
	p.Attach(1, &next)
	p.Attach(1, &never)
	p.Detach(1)
	p.Attach(5, &two)
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	if one.String() != "a" || !one.closed || two.String() != "be" || !two.closed {
		t.Errorf("got %q, closed %v, and %q, closed %v", one.String(), one.closed, two.String(), two.closed)
	}
	if next.String() != "d" || !next.closed || never.Len() > 0 || !never.closed {
		t.Errorf("the stream's next: got %q, closed %v; what was detached: %q, closed %v", next.String(), next.closed, never.String(), never.closed)
	}
	var late sink
	if p.Attach(1, &late); !late.closed {
		t.Error("what is attached to a machine that is gone waits for ever")
	}
}

// Nobody reads what a command writes: its writer does not return. Others go on, and the
// machine's end ends it.
func TestAWriterThatStopsDoesNotStopOthers(t *testing.T) {
	frame := "\x05\x00\x01\x00\x00" + strings.Repeat("x", maxFrame)
	wire := strings.Repeat(frame, 6) + "\x01\x00\x00\x00\x02on" + strings.Repeat(frame, 6) + "\x05\x00\x00\x00\x00" + "\x05\x00\x00\x00\x04next"
	p := newStdio(replay{Reader: strings.NewReader(wire)}).Streams()
	p.patience = 50 * time.Millisecond
	var log, next sink
	left, stuck := io.Pipe()
	p.Attach(1, &log)
	p.AttachApart(5, stuck)
	p.AttachApart(5, &next)
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	if log.String() != "on" || next.String() != "next" || !next.closed {
		t.Errorf("got %q of the log and %q of the stream's next", log.String(), next.String())
	}
	if _, err := stuck.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("after the end: got %v, want it closed", err)
	}
	_ = left.Close()
}

// A reader that was away too long is told that there was more.
func TestDroppedOutputIsToldOf(t *testing.T) {
	r, w := io.Pipe()
	q := newQueue(w, 20*time.Millisecond)
	go q.run()
	sent, err := q.Write(make([]byte, 2*queueLen*queuePart))
	if !errors.Is(err, errStuck) || sent < queueLen*queuePart {
		t.Fatalf("took %d bytes, %v, want %d or one part more", sent, err, queueLen*queuePart)
	}
	_ = q.Close()
	got, err := io.ReadAll(r)
	if err != nil || len(got) != sent+len(dropped) || !strings.HasSuffix(string(got), dropped) {
		t.Errorf("got %d bytes, %v, want %d and the note", len(got), err, sent)
	}
}

func TestTheEndOfAPodIsToldBeforeItsMachineIsGone(t *testing.T) {
	host, machine := net.Pipe()
	s := newStdio(host)
	p := s.Streams()
	done := make(chan error)
	go func() { done <- p.Run() }()
	_, _ = machine.Write([]byte("\xff\x00\x00\x00\x00"))
	<-s.copied
	_ = machine.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestBadFramesEndAllStreams(t *testing.T) {
	p := newStdio(replay{Reader: strings.NewReader("\x01\x00\x01\x00\x01")}).Streams()
	var s sink
	p.Attach(1, &s)
	if err := p.Run(); err == nil || !strings.Contains(err.Error(), "frame of 65537 bytes") || !s.closed {
		t.Errorf("got %v, closed %v", err, s.closed)
	}
}

func TestInputIsFramedForItsContainer(t *testing.T) {
	host, machine := net.Pipe()
	in := newStdio(host).Streams().Input(8)
	go func() {
		_, _ = in.Write([]byte("hi"))
		_ = in.Close()
		_ = host.Close()
	}()
	var got bytes.Buffer
	_, _ = got.ReadFrom(machine)
	if want := "\x08\x00\x00\x00\x02hi\x08\x00\x00\x00\x00"; got.String() != want {
		t.Errorf("got %q, want %q", got.String(), want)
	}
}
