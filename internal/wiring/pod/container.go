package pod

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"holdfast/internal/api"
)

// A Container is one that the machine made, or a command in one.
type Container struct {
	pod    *Pod
	params api.ContainerParams
	first  byte                   // of its streams
	words  string                 // the place of its last words
	exit   chan api.ContainerExit // nil before it was started
}

// Create has the machine pull, verify and unpack a container that its configuration
// names. What the machine would not do is a *machine.CallError.
func (p *Pod) Create(ctx context.Context, q api.CreateParams) (*Container, error) {
	var d api.CreateDetail
	if err := p.call(ctx, api.CallCreate, q, &d); err != nil {
		return nil, err
	}
	return &Container{pod: p, params: api.ContainerParams{Container: q.Container}, first: d.First, words: d.Message}, nil
}

// Message is the file in the container that its exit has the content of; empty: none has.
func (c *Container) Message() string { return c.words }

// Exec names a command in a container that runs, which the configuration has to allow.
func (c *Container) Exec(ctx context.Context, args []string, terminal, stdin bool) (*Container, error) {
	q := api.ExecParams{Container: c.params.Container, Args: args, Terminal: terminal, Stdin: stdin}
	var d api.ExecDetail
	if err := c.pod.call(ctx, api.CallExec, q, &d); err != nil {
		return nil, err
	}
	return &Container{pod: c.pod, params: api.ContainerParams{Container: q.Container, Exec: d.Exec}, first: d.First}, nil
}

func (p *Pod) call(ctx context.Context, name string, params, into any) error {
	raw, err := json.Marshal(params)
	if err != nil {
		return err
	}
	reply, err := p.machine.Call(ctx, api.Call{Call: name, Params: raw})
	if err != nil || into == nil {
		return err
	}
	if err := json.Unmarshal(reply.Detail, into); err != nil {
		return fmt.Errorf("the machine's reply to %s: %w", name, err)
	}
	return nil
}

// Output gives the container's output to writers, which are closed at its end. It
// is called before Start. The configuration may keep output from the host: then none comes.
// A container waits for who writes its output. Who reads a command's may be anyone, and go
// away: the rest of the pod does not wait for that.
func (c *Container) Output(stdout, stderr io.WriteCloser) {
	attach := c.pod.streams.Attach
	if c.params.Exec != 0 {
		attach = c.pod.streams.AttachApart
	}
	attach(c.first+api.StreamStdout, stdout)
	attach(c.first+api.StreamStderr, stderr)
}

// Input is the container's standard input.
func (c *Container) Input() io.WriteCloser { return c.pod.streams.Input(c.first) }

// Start lets the container run. Exit tells its end from then on.
func (c *Container) Start(ctx context.Context) error {
	exit := make(chan api.ContainerExit, 1)
	p := c.pod
	p.mu.Lock()
	p.exits[c.params] = exit
	p.mu.Unlock()
	c.exit = exit
	err := p.call(ctx, api.CallStart, c.params, nil)
	if err != nil {
		p.mu.Lock()
		delete(p.exits, c.params)
		p.mu.Unlock()
	}
	return err
}

// Wait returns how the container ended; with its machine, when that ended first.
func (c *Container) Wait() api.ContainerExit {
	gone := api.ContainerExit{ContainerParams: c.params, ExitDetail: api.ExitDetail{Code: 128 + 9, Signal: "SIGKILL"}}
	select {
	case e := <-c.exit:
		return e
	case <-c.pod.ended:
	}
	select {
	case e := <-c.exit: // it came with the machine's last words
		return e
	default:
		return gone
	}
}

// Kill sends a signal to the container's first process.
func (c *Container) Kill(ctx context.Context, signal int) error {
	return c.pod.call(ctx, api.CallKill, api.KillParams{ContainerParams: c.params, Signal: signal}, nil)
}

// Delete forgets a container that does not run.
func (c *Container) Delete(ctx context.Context) error {
	if c.exit == nil { // nothing will end its streams
		c.pod.streams.Detach(c.first + api.StreamStdout)
		c.pod.streams.Detach(c.first + api.StreamStderr)
	}
	return c.pod.call(ctx, api.CallDelete, c.params, nil)
}

// Resize sets the size of its terminal.
func (c *Container) Resize(ctx context.Context, width, height uint16) error {
	return c.pod.call(ctx, api.CallResize, api.ResizeParams{ContainerParams: c.params, Width: width, Height: height}, nil)
}

// Stats tells what the container uses.
func (c *Container) Stats(ctx context.Context) (s api.StatsDetail, err error) {
	return s, c.pod.call(ctx, api.CallStats, c.params, &s)
}

// Alive says whether the machine is there to be asked.
func (c *Container) Alive() bool {
	select {
	case <-c.pod.ended:
		return false
	default:
		return true
	}
}

// Ask makes a call that has no parameters.
func (p *Pod) Ask(ctx context.Context, call string) error {
	_, err := p.machine.Call(ctx, api.Call{Call: call})
	return err
}
