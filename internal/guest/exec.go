package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"

	"holdfast/internal/api"
	"holdfast/internal/atomicfile"
)

// A command is one that the host has named in a container, as the configuration lets
// it. Its fields are guarded by the pod's mu, but for those that make it.
type command struct {
	api.ExecParams
	id       uint64
	slot     int // of its streams
	streams  []string
	state    state
	running  *workload
	end      func()    // of its streams
	terminal *terminal // nil: it has none
}

// prepare gives a command a name and streams, if the configuration has it.
func (p *pod) prepare(q api.ExecParams) (*api.ExecDetail, error) {
	measured, _, ok := p.Guest.Pod.Container(q.Container)
	if !ok {
		return nil, fmt.Errorf("container %.80q: the measured configuration has none of that name", q.Container)
	}
	streams, err := permit(measured, q)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", q.Container, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.containers[q.Container]; c == nil || c.state != running || p.ending {
		return nil, fmt.Errorf("container %s: does not run", q.Container)
	}
	slot, ok := p.slot()
	if !ok {
		return nil, errors.New("as many commands run as there are streams for")
	}
	p.last++
	e := &command{ExecParams: q, id: p.last, slot: slot, streams: streams, state: created}
	p.commands[e.id] = e
	return &api.ExecDetail{Exec: e.id, First: api.FirstStream(slot)}, nil
}

// permit finds what lets the host start a command, and which of its streams the host has.
func permit(c api.Container, q api.ExecParams) (streams []string, err error) {
	err = fmt.Errorf("command %.200q is not in the measured configuration", q.Args)
	for _, one := range c.Exec {
		switch {
		case !one.Allows(q.Args):
		case q.Terminal && !one.Terminal:
			err = fmt.Errorf("a terminal for command %.200q is not in the measured configuration", q.Args)
		case q.Stdin && !slices.Contains(one.Streams, api.StreamInput):
			err = fmt.Errorf("input for command %.200q is not in the measured configuration", q.Args)
		default:
			return one.Streams, nil
		}
	}
	return nil, err
}

// slot finds streams that no command has; mu is held. A container's are its own.
func (p *pod) slot() (n int, ok bool) {
	taken := map[int]bool{}
	for _, e := range p.commands {
		taken[e.slot] = true
	}
	for n := len(p.Guest.Pod.Containers); n < api.MaxContainers; n++ {
		if !taken[n] {
			return n, true
		}
	}
	return 0, false
}

// command finds one that is in a state; mu is held.
func (p *pod) command(q api.ContainerParams, in ...state) (*command, error) {
	e := p.commands[q.Exec]
	switch {
	case e == nil || e.Container != q.Container:
		return nil, fmt.Errorf("container %.80q: it has no command %d", q.Container, q.Exec)
	case !slices.Contains(in, e.state):
		return nil, fmt.Errorf("container %s: command %d %s", e.Container, e.id, e.state)
	}
	return e, nil
}

// startCommand lets runc start a command in its container.
func (p *pod) startCommand(q api.ContainerParams) error {
	p.mu.Lock()
	e, err := p.command(q, created)
	if err != nil {
		p.mu.Unlock()
		return err
	}
	c := p.containers[q.Container]
	runs := c != nil && c.state == running && !p.ending
	e.state = starting
	p.mu.Unlock()
	var w *workload
	if runs {
		w, err = p.execute(c, e)
	} else if err = p.endStreams(e); err == nil {
		err = errors.New("does not run")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		e.state = ended // its streams have, too: it is good for nothing any more
		return fmt.Errorf("container %s: %w", e.Container, err)
	}
	e.running, e.state = w, running
	p.work.Go(func() { p.awaitCommand(e) })
	return nil
}

// endStreams has the host hear the end of a command's streams that nothing will write: it
// has given them to someone, and gives them to no other before.
func (p *pod) endStreams(e *command) error {
	files, end, err := p.Open(api.FirstStream(e.slot), e.streams)
	if err != nil {
		return err
	}
	closeFiles(files)
	e.end = end
	return nil
}

// execute has runc start it, with all that the container's first process has but its arguments.
func (p *pod) execute(c *container, e *command) (w *workload, err error) {
	name := "exec-" + strconv.FormatUint(e.id, 10)
	defer func() {
		for _, suffix := range []string{".json", ".log", ".pid", ".sock"} {
			_ = os.Remove(c.bundle.path(name + suffix))
		}
	}()
	files, end, err := p.Open(api.FirstStream(e.slot), e.streams)
	if err != nil {
		return nil, err
	}
	e.end = end
	words, err := c.bundle.describe(name, e)
	if err != nil {
		closeFiles(files)
		return nil, err
	}
	if e.Terminal {
		w, e.terminal, err = c.guest.onTerminal(c.bundle, name, files, words...)
		return w, err
	}
	defer closeFiles(files)
	return c.guest.runc(c.bundle, name, files, words...)
}

// describe writes what runc is to start, and returns its words.
func (b *bundle) describe(name string, e *command) ([]string, error) {
	process, err := b.process()
	if err != nil {
		return nil, err
	}
	process.Args, process.Terminal = e.Args, e.Terminal
	if e.Terminal {
		process.Env = withTerm(process.Env)
	}
	text, err := json.Marshal(process)
	if err != nil {
		return nil, err
	}
	file := b.path(name + ".json")
	return []string{"exec", "--detach", "--process", file}, atomicfile.WriteFile(file, text, 0o600)
}

// process is the container's first, as runc was told of it.
func (b *bundle) process() (*specs.Process, error) {
	raw, err := os.ReadFile(b.path("config.json"))
	if err != nil {
		return nil, err
	}
	var s specs.Spec
	return s.Process, json.Unmarshal(raw, &s)
}

// awaitCommand tells a command's end.
func (p *pod) awaitCommand(e *command) {
	exit := exitDetail(<-e.running.end, false)
	p.mu.Lock()
	e.state = ended
	p.mu.Unlock()
	p.Tell(api.EventContainerExited, api.ContainerExit{ContainerParams: api.ContainerParams{Container: e.Container, Exec: e.id}, ExitDetail: exit})
}

// removeCommand forgets a command that does not run, whoever holds on to its streams.
func (p *pod) removeCommand(q api.ContainerParams) error {
	p.mu.Lock()
	e, err := p.command(q, created, ended)
	if err == nil {
		e.state = removing // its streams are nobody else's before they ended
	}
	p.mu.Unlock()
	if err != nil {
		return err
	}
	if e.terminal != nil {
		e.terminal.close()
	}
	if e.end != nil {
		e.end()
	}
	p.mu.Lock()
	delete(p.commands, q.Exec)
	p.mu.Unlock()
	return nil
}

// resize sets the size of a container's terminal, or of a command's.
func (p *pod) resize(q api.ResizeParams) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var t *terminal
	if c := p.containers[q.Container]; q.Exec == 0 && c != nil {
		t = c.terminal
	} else if q.Exec != 0 {
		e, err := p.command(q.ContainerParams, running)
		if err != nil {
			return err
		}
		t = e.terminal
	}
	if t == nil {
		return fmt.Errorf("container %.80q: there is no terminal", q.Container)
	}
	return t.resize(q.Width, q.Height)
}
