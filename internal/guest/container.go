package guest

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
)

// create pulls, verifies and unpacks what the configuration says of a container.
func (p *pod) create(ctx context.Context, q api.CreateParams) (*api.CreateDetail, error) {
	c, err := p.reserve(q)
	if err != nil {
		return nil, err
	}
	err = p.fill(ctx, c, q)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		delete(p.containers, c.Name)
		_ = os.RemoveAll(p.dir(c.Name))
		return nil, fmt.Errorf("container %s: %w", c.Name, err)
	}
	c.state = created
	return &api.CreateDetail{First: api.FirstStream(c.index), Message: c.Message}, nil
}

func (p *pod) dir(name string) string { return filepath.Join(p.Dir, "containers", name) }

// reserve takes a container's name, when its turn has come.
func (p *pod) reserve(q api.CreateParams) (*container, error) {
	measured, i, ok := p.Guest.Pod.Container(q.Container)
	if !ok {
		return nil, fmt.Errorf("container %.80q: the measured configuration has none of that name", q.Container)
	}
	if err := agree(measured, q); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.containers[measured.Name]; c != nil {
		return nil, fmt.Errorf("container %s: %s already", c.Name, c.state)
	}
	if p.ending {
		return nil, ErrStopped
	}
	for _, before := range p.Guest.Pod.Containers[:i] {
		if before.Init && !p.finished[before.Name] {
			return nil, fmt.Errorf("container %s: %s, which comes first, has not ended well", measured.Name, before.Name)
		}
	}
	c := &container{Container: measured, index: i, state: creating, over: make(chan struct{})}
	p.containers[c.Name] = c
	return c, nil
}

// fill makes the container's bundle. Its broker's client is closed before anything of
// it runs.
func (p *pod) fill(ctx context.Context, c *container, q api.CreateParams) error {
	config := p.Config
	config.Dir = p.dir(c.Name)
	config.Guest.Image, config.Guest.Process, config.Guest.Secrets, config.Guest.Tmpfs = c.Image, c.Process, c.Secrets, c.Tmpfs
	config.Guest.Pod, config.Guest.Process.Terminal = nil, false
	var err error
	if config.Broker, err = p.broker(); err != nil {
		return err
	}
	if config.Broker != nil {
		defer config.Broker.Close()
	}
	if c.guest, err = newGuest(config); err != nil {
		return err
	}
	c.guest.Guest.Process.Terminal = c.Process.Terminal // which only containers of pods have
	c.guest.id, c.guest.limit, c.guest.drop, c.guest.nonRoot = c.Name, c.Memory, c.Drop, c.NonRoot
	c.guest.message = c.Message
	c.guest.compare = func(s spec) error { return compare(s, c.Container, q) }
	for _, v := range c.Volumes {
		c.guest.shared = append(c.guest.shared, shared{p.volume(v.Name), v})
	}
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		return err
	}
	c.bundle, err = c.guest.fill(ctx)
	return err
}

// broker is the one that proved the machine first, or a new one.
func (p *pod) broker() (Broker, error) {
	if p.NewBroker == nil {
		return nil, nil
	}
	p.mu.Lock()
	first := p.first
	p.first = nil
	p.mu.Unlock()
	if first != nil {
		return first, nil
	}
	return p.NewBroker()
}

// take finds a container in a state, and puts it into the next.
func (p *pod) take(name string, from, to state) (*container, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.containers[name]
	switch {
	case c == nil:
		return nil, fmt.Errorf("container %.80q: is not there", name)
	case c.state != from:
		return nil, fmt.Errorf("container %s: %s", name, c.state)
	case p.ending:
		return nil, ErrStopped
	}
	c.state = to
	return c, nil
}

// start lets a created container run.
func (p *pod) start(name string) error {
	c, err := p.take(name, created, starting)
	if err != nil {
		return err
	}
	w, err := p.launch(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		c.state = ended // its streams have, too
		return fmt.Errorf("container %s: %w", name, err)
	}
	c.running, c.state = w, running
	p.work.Go(func() { p.follow(c) })
	return nil
}

func (p *pod) launch(c *container) (w *workload, err error) {
	if c.guest.Stdio, c.end, err = p.Open(api.FirstStream(c.index), c.Streams); err != nil {
		return nil, err
	}
	if c.Process.Terminal {
		w, c.terminal, err = c.guest.onTerminal(c.bundle, "runc", c.guest.Stdio, "run", "--detach", "--bundle", c.bundle.dir)
		return w, err
	}
	defer closeFiles(c.guest.Stdio)
	return c.guest.start(c.bundle)
}

func closeFiles(all [3]*os.File) {
	for _, f := range all {
		_ = f.Close()
	}
}

// follow waits for a container's end and tells it.
func (p *pod) follow(c *container) {
	status := <-c.running.end
	exit := exitDetail(status, oomKilled(filepath.Join(c.running.dir, "memory.events")))
	message := c.bundle.message()
	p.mu.Lock()
	c.state = ended
	if c.Init && exit.Code == 0 {
		p.finished[c.Name] = true
	}
	p.mu.Unlock()
	close(c.over)
	p.Tell(api.EventContainerExited, api.ContainerExit{ContainerParams: api.ContainerParams{Container: c.Name}, ExitDetail: exit, Message: message})
}

// kill sends a signal to the first process of a container, or of a command.
func (p *pod) kill(q api.KillParams) error {
	if q.Signal < 1 || q.Signal > 64 {
		return fmt.Errorf("signal %d: want 1 to 64", q.Signal)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if q.Exec != 0 {
		e, err := p.command(q.ContainerParams, running)
		if err != nil {
			return err
		}
		return unix.Kill(e.running.pid, unix.Signal(q.Signal))
	}
	c := p.containers[q.Container]
	if c == nil || c.state != running {
		return fmt.Errorf("container %.80q: does not run", q.Container)
	}
	return unix.Kill(c.running.pid, unix.Signal(q.Signal))
}

// remove forgets a container that does not run.
func (p *pod) remove(name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.containers[name]
	if c == nil {
		return fmt.Errorf("container %.80q: is not there", name)
	}
	if c.state != ended && c.state != created {
		return fmt.Errorf("container %s: %s", name, c.state)
	}
	if c.running != nil {
		if err := c.guest.forget(c.bundle); err != nil {
			return fmt.Errorf("container %s: %w", name, err)
		}
	}
	if c.terminal != nil {
		c.terminal.close()
	}
	if c.end != nil {
		c.end()
	}
	delete(p.containers, name)
	return os.RemoveAll(p.dir(name))
}

// forget lets runc remove what it knows of a container.
func (g *guest) forget(b *bundle) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	argv := []string{g.Runtime, "--root", b.path("runc"), "--log", b.path("runc.log"), "--log-format", "json", "delete", "--force", g.id}
	_, end, err := g.Processes.Start(argv, &os.ProcAttr{Dir: "/", Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, Files: []*os.File{null, null, null}})
	if err != nil {
		return err
	}
	if status := <-end; status.ExitStatus() != 0 {
		return fmt.Errorf("runc: %s", lastWords(b.path("runc.log")))
	}
	return nil
}

// stats reads the control group of a container.
func (p *pod) stats(name string) (*api.StatsDetail, error) {
	p.mu.Lock()
	c := p.containers[name]
	p.mu.Unlock()
	if c == nil {
		return nil, fmt.Errorf("container %.80q: is not there", name)
	}
	dir := filepath.Join(cgroupRoot, fence, c.Name)
	return &api.StatsDetail{
		MemoryBytes:   figure(filepath.Join(dir, "memory.current"), ""),
		InactiveBytes: figure(filepath.Join(dir, "memory.stat"), "inactive_file"),
		MemoryLimit:   figure(filepath.Join(dir, "memory.max"), ""),
		CPUMicros:     figure(filepath.Join(dir, "cpu.stat"), "usage_usec"),
		Processes:     figure(filepath.Join(dir, "pids.current"), ""),
	}, nil
}

// figure reads a number of a control group's file, that of a line's name where one
// is given; 0 when it is not there.
func figure(path, name string) uint64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) > 0 && (name == "" || words[0] == name) {
			n, _ := strconv.ParseUint(cmp.Or(words[len(words)-1], "0"), 10, 64)
			return n
		}
	}
	return 0
}
