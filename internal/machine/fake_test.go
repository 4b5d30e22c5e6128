package machine

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// A fakeBackend stands where no hypervisor can run: a test plays the machine
// on the far ends of its streams.
type fakeBackend struct {
	console        *io.PipeReader
	control, stdio net.Conn
	far            struct {
		console        *io.PipeWriter
		control, stdio net.Conn
	}
	exited    Exited
	poweredBy chan struct{} // closed by PowerDown
	gone      chan struct{}
	once      sync.Once
}

func newFake() *fakeBackend {
	f := &fakeBackend{gone: make(chan struct{}), poweredBy: make(chan struct{})}
	f.console, f.far.console = io.Pipe()
	f.control, f.far.control = net.Pipe()
	f.stdio, f.far.stdio = net.Pipe()
	return f
}

func (f *fakeBackend) Console() io.Reader { return f.console }
func (f *fakeBackend) Control() net.Conn  { return f.control }
func (f *fakeBackend) Stdio() net.Conn    { return f.stdio }
func (f *fakeBackend) Close() error       { return nil }
func (f *fakeBackend) Wait() Exited       { <-f.gone; return f.exited }
func (f *fakeBackend) Kill()              { f.end(Exited{Code: -1, Status: "signal: killed"}) }

func (f *fakeBackend) PowerDown(context.Context) error { close(f.poweredBy); return nil }

// end is the machine's end, whoever wanted it.
func (f *fakeBackend) end(e Exited) {
	f.once.Do(func() {
		f.exited = e
		_ = f.far.console.Close()
		_ = f.far.control.Close()
		_ = f.far.stdio.Close()
		close(f.gone)
	})
}

// watchFake starts a machine that a test plays.
func watchFake(t *testing.T, linger time.Duration) (*Machine, *fakeBackend) {
	t.Helper()
	f := newFake()
	m, err := Watch(Spec{Name: "fake", Folder: t.TempDir()}, f, time.Now(), Options{Linger: linger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Kill(); <-m.done })
	return m, f
}

func outcome(t *testing.T, m *Machine) Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o, err := m.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return o
}
