package guest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
)

// A PodConfig is what a guest is given that runs a pod. Of Config it leaves out
// Broker, Stdio and Signals: each container has its own.
type PodConfig struct {
	Config
	// NewBroker is a client that has not proved the machine yet: each container
	// gets its own, closed before it runs. Nil: there is no broker.
	NewBroker func() (Broker, error)
	Calls     <-chan api.PodCall
	// Open gives standard streams, of which first is the input, with those connected to
	// the host that are named. End is called before the same are opened again.
	Open func(first byte, streams []string) (files [3]*os.File, end func(), err error)
	Tell func(event string, detail any)
}

// A pod is the containers of a machine.
type pod struct {
	PodConfig
	work sync.WaitGroup

	mu         sync.Mutex
	containers map[string]*container // those that are there; guarded by mu, as are all below
	finished   map[string]bool       // initial containers that ended well
	commands   map[uint64]*command   // of all containers, by the names that they were given
	last       uint64                // of those names
	first      Broker                // proved the machine when the pod began
	ending     bool
}

// A container is one that the host asked for. Its fields are guarded by the pod's
// mu, but for those that make it, which nobody else touches meanwhile.
type container struct {
	api.Container
	index   int
	state   state
	guest   *guest
	bundle  *bundle
	running *workload
	end     func()        // of its streams
	over    chan struct{} // closed when it ended

	terminal *terminal // nil: it has none
}

type state string

const (
	creating state = "is being created"
	created  state = "is created"
	starting state = "is being started"
	running  state = "runs"
	ended    state = "has ended"
	removing state = "is being removed"
)

// RunPod proves the machine, and then does what the host asks as far as the
// configuration has it, until the host asks for the end. It returns once no
// container runs any more. When the pod cannot be, the error wraps a *Refusal.
func RunPod(ctx context.Context, c PodConfig) (api.ExitDetail, error) {
	ctx, cancel := context.WithCancel(ctx)
	p := &pod{PodConfig: c, containers: map[string]*container{}, commands: map[uint64]*command{}, finished: map[string]bool{}}
	p.Dir = cmp.Or(p.Dir, "/run/holdfast")
	defer p.work.Wait()
	defer cancel()
	if err := p.begin(ctx); err != nil {
		return api.ExitDetail{}, err
	}
	c.Stage("run", fmt.Sprintf("pod of %d containers", len(c.Guest.Pod.Containers)), "")
	c.Started()
	for {
		select {
		case call := <-c.Calls:
			p.work.Go(func() { call.Answer(p.do(ctx, call)) })
		case <-c.Stop:
			cancel()
			p.end()
			return api.ExitDetail{}, nil
		case <-ctx.Done():
			p.end()
			return api.ExitDetail{}, nil
		}
	}
}

// begin makes what containers stand on.
func (p *pod) begin(ctx context.Context) error {
	if p.Guest.Pod == nil {
		return &Refusal{"config", errors.New("there is no pod in it")}
	}
	if err := p.Guest.Check(); err != nil {
		return &Refusal{"config", err}
	}
	below := &guest{Config: p.Config}
	if err := below.mountMemory(); err != nil {
		return &Refusal{"pull", err}
	}
	if err := below.fenceIn(); err != nil {
		return &Refusal{"run", err}
	}
	if p.NewBroker != nil {
		broker, err := p.NewBroker()
		if err != nil {
			return &Refusal{"config", err}
		}
		below.Broker = broker
		if err := below.attest(ctx); err != nil {
			broker.Close()
			return err
		}
		p.first = proved{broker}
	}
	err := p.makeVolumes(func(text string) ([]byte, error) { return below.unseal(ctx, text) })
	if err != nil && p.first != nil {
		p.first.Close()
	}
	return err
}

// A proved broker need not be proved to again.
type proved struct{ Broker }

func (proved) Attest(context.Context) error { return nil }

func (p *pod) volume(name string) string { return filepath.Join(p.Dir, "volumes", name) }

// do does what one call asks for.
func (p *pod) do(ctx context.Context, call api.PodCall) (detail any, err error) {
	switch call.Name {
	case api.CallCreate:
		var q api.CreateParams
		if err = strictly(call.Params, &q); err == nil {
			detail, err = p.create(ctx, q)
		}
	case api.CallExec:
		var q api.ExecParams
		if err = strictly(call.Params, &q); err == nil {
			detail, err = p.prepare(q)
		}
	case api.CallKill:
		var q api.KillParams
		if err = strictly(call.Params, &q); err == nil {
			err = p.kill(q)
		}
	case api.CallResize:
		var q api.ResizeParams
		if err = strictly(call.Params, &q); err == nil {
			err = p.resize(q)
		}
	case api.CallStart, api.CallDelete, api.CallStats:
		var q api.ContainerParams
		if err = strictly(call.Params, &q); err == nil {
			detail, err = p.with(call.Name, q)
		}
	default:
		err = errors.New("unknown call")
	}
	return detail, err
}

func (p *pod) with(call string, q api.ContainerParams) (any, error) {
	switch {
	case call == api.CallStats && q.Exec == 0:
		return p.stats(q.Container)
	case call == api.CallStart && q.Exec == 0:
		return nil, p.start(q.Container)
	case call == api.CallDelete && q.Exec == 0:
		return nil, p.remove(q.Container)
	case call == api.CallStart:
		return nil, p.startCommand(q)
	case call == api.CallDelete:
		return nil, p.removeCommand(q)
	}
	return nil, errors.New("a command has none of its own")
}

func strictly(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// end asks all that runs to end, and makes it.
func (p *pod) end() {
	p.mu.Lock()
	p.ending = true
	if p.first != nil {
		p.first.Close()
		p.first = nil
	}
	var left []*container
	for _, c := range p.containers {
		if c.state == running {
			left = append(left, c)
			_ = unix.Kill(c.running.pid, c.running.stop)
		}
	}
	p.mu.Unlock()
	late := time.After(p.grace())
	for _, c := range left {
		select {
		case <-c.over:
		case <-late:
			late = closed
			_ = unix.Kill(c.running.pid, unix.SIGKILL)
			<-c.over
		}
	}
}

// closed is a time that has come.
var closed = func() <-chan time.Time { c := make(chan time.Time); close(c); return c }()
