package hsm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"
)

// A helper is one run of the program.
type helper struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	write sync.Mutex // held while a request is written
	done  chan struct{}

	mu      sync.Mutex               // guards all below
	next    uint64                   // number of the next request
	waiting map[uint64]chan Response // by number
	err     error                    // why it is of no use any more
}

// tail keeps the first words of what the program says on stderr.
type tail struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text.Write(p[:min(len(p), 1024-min(1024, t.text.Len()))])
	return len(p), nil
}

// start runs the program and reads its greeting.
func start(ctx context.Context, c Config) (*helper, error) {
	cmd := exec.Command(c.Program, "--module", c.Module, "--token", c.Token, "--pin-file", c.PINFile)
	said := &tail{}
	cmd.Env, cmd.Stderr, cmd.WaitDelay = c.Env, said, 10*time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the HSM's program: %w", err)
	}
	h := &helper{cmd: cmd, in: in, done: make(chan struct{}), waiting: map[uint64]chan Response{}}
	greeted := make(chan error, 1)
	go h.read(out, said, greeted)
	select {
	case err = <-greeted:
	case <-ctx.Done():
		err = fmt.Errorf("the HSM's program did not get ready: %w", ctx.Err())
	}
	if err != nil {
		h.fail(err)
		h.end()
		return nil, err
	}
	return h, nil
}

// read hands out answers until the program ends.
func (h *helper) read(out io.Reader, said *tail, greeted chan<- error) {
	defer close(h.done)
	var hello Hello
	err := ReadMessage(out, &hello)
	if err == nil {
		err = hello.check()
		greeted <- err
	}
	for err == nil {
		var r Response
		if err = ReadMessage(out, &r); err == nil {
			h.hand(r)
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		h.kill() // it closed its output: nothing more will come
		state := h.cmd.Wait()
		err = fmt.Errorf("the HSM's program ended (%v) %s", state, printable(said.text.String()))
	}
	h.fail(err)
	select {
	case greeted <- h.failure():
	default:
	}
	_ = h.cmd.Wait() // after fail has killed it; a second time is an error only
}

func (hello Hello) check() error {
	switch {
	case hello.Protocol != Protocol:
		return fmt.Errorf("the HSM's program speaks protocol %d, expected %d", hello.Protocol, Protocol)
	case hello.Error != "":
		return coded(hello.Code, hello.Error)
	}
	return nil
}

func (h *helper) hand(r Response) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if to, ok := h.waiting[r.Number]; ok {
		to <- r // has room for one
		delete(h.waiting, r.Number)
	}
}

// ask sends a request and waits for its answer.
func (h *helper) ask(ctx context.Context, r Request) (Response, error) {
	answer := make(chan Response, 1)
	h.mu.Lock()
	h.next++
	r.Number = h.next
	h.waiting[r.Number] = answer
	h.mu.Unlock()
	defer func() { h.mu.Lock(); delete(h.waiting, r.Number); h.mu.Unlock() }()

	sent := make(chan error, 1)
	go func() { // a program that does not read must not hold us
		h.write.Lock()
		defer h.write.Unlock()
		sent <- WriteMessage(h.in, r)
	}()
	for {
		select {
		case err := <-sent:
			if err != nil {
				h.fail(fmt.Errorf("write to the HSM's program: %w", err))
			}
		case a := <-answer:
			return a, nil
		case <-h.done:
			return Response{}, fmt.Errorf("%w: %w", ErrDown, h.failure())
		case <-ctx.Done():
			return Response{}, ctx.Err()
		}
	}
}

// fail kills the program; the first reason stays.
func (h *helper) fail(err error) {
	h.mu.Lock()
	if h.err == nil {
		h.err = err
	}
	h.mu.Unlock()
	h.kill()
}

func (h *helper) kill() { _ = h.cmd.Process.Kill() }

func (h *helper) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// end asks the program to end, by closing its input, and waits for it.
func (h *helper) end() {
	_ = h.in.Close()
	select {
	case <-h.done:
	case <-time.After(2 * time.Second):
		h.kill()
		<-h.done
	}
}
