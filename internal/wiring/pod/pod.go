// Package pod runs a pod as one machine, for whoever hears of pods: a shim of
// containerd's.
//
// The machine decides what runs: this side names containers and passes on what
// the node believes of them. It carries streams and exit codes, and a refusal's
// words, so that they end where a person looks for them.
package pod

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/machine"
	"holdfast/internal/machine/qemu"
	"holdfast/internal/oci"
	"holdfast/internal/swtpm"
)

// A Node says how machines are run here.
type Node struct {
	Disk         string `json:"disk"`          // of the machine image
	Code         string `json:"firmware_code"` // firmware with Secure Boot
	Vars         string `json:"firmware_vars"` // its variables, with the installation's keys
	TPMAuthority string `json:"tpm_authority"` // folder of the software TPMs' authority
	AccelFile    string `json:"accel_file,omitempty"`
	Memory       int    `json:"memory_mib,omitempty"` // of a machine whose pod says nothing; 0: 1024
}

// Check names what is missing.
func (n Node) Check() error {
	for name, value := range map[string]string{"disk": n.Disk, "firmware_code": n.Code, "firmware_vars": n.Vars, "tpm_authority": n.TPMAuthority} {
		if !filepath.IsAbs(value) {
			return fmt.Errorf("%s %.200q: want an absolute path", name, value)
		}
	}
	return nil
}

// A Spec is one pod.
type Spec struct {
	ID       string
	Folder   string // its state
	Document []byte // the configuration, as it was sealed
	Netns    string // whose link the machine gets, as the path of a file; empty: it is on none
	DNS      DNS
	Memory   int // MiB; 0: as the node has it
	CPUs     int
	Log      *slog.Logger
}

// A DNS says whom the machine asks for names.
type DNS struct {
	Resolvers []netip.Addr
	Search    []string
	Ndots     int
}

// A Pod is a machine that takes calls.
type Pod struct {
	machine *machine.Machine
	streams *machine.Streams
	relay   *relay // nil: it is on no network
	work    sync.WaitGroup
	ended   chan struct{} // closed when outcome is there
	outcome machine.Outcome

	mu    sync.Mutex
	exits map[api.ContainerParams]chan api.ContainerExit // by what was started; guarded by mu
}

// Start boots the machine of a pod, and returns once it takes calls. An error says
// why it does not, in the machine's words where it spoke.
func (n Node) Start(ctx context.Context, s Spec) (*Pod, error) {
	if len(s.Document) == 0 {
		return nil, ErrNotSealed
	}
	m, relay, err := n.boot(ctx, s)
	if err != nil {
		return nil, err
	}
	up := make(chan struct{})
	p := follow(m, relay, up)
	select {
	case <-up:
		return p, nil
	case <-p.ended:
		err = refusal(p.outcome, s.Document)
	case <-ctx.Done():
		m.Kill()
		err = fmt.Errorf("the machine was not ready in time: %w", ctx.Err())
	}
	p.work.Wait()
	return nil, err
}

// follow takes charge of a machine. That it takes calls is told by closing up.
func follow(m *machine.Machine, relay *relay, up chan<- struct{}) *Pod {
	p := &Pod{machine: m, relay: relay, streams: m.Stdio().Streams(), ended: make(chan struct{}), exits: map[api.ContainerParams]chan api.ContainerExit{}}
	p.work.Go(func() { p.read(up) })
	p.work.Go(func() { _ = p.streams.Run() })
	p.work.Go(p.await)
	return p
}

// await notes how the machine ended.
func (p *Pod) await() {
	p.outcome, _ = p.machine.Wait(context.Background())
	close(p.ended)
	if p.relay != nil {
		p.relay.close()
	}
}

// ErrNotSealed says that nobody wrote down what the pod may do.
var ErrNotSealed = errors.New(`the pod has no measured configuration: nothing would be released to it; write it with "holdfast pod seal"`)

func (n Node) boot(ctx context.Context, s Spec) (*machine.Machine, *relay, error) {
	conf := swtpm.Config{Dir: filepath.Join(s.Folder, "tpm"), CADir: n.TPMAuthority}
	if err := swtpm.Manufacture(ctx, conf); err != nil {
		return nil, nil, err
	}
	tpm, err := swtpm.Start(context.WithoutCancel(ctx), conf.Dir)
	if err != nil {
		return nil, nil, err
	}
	q, err := qemu.New(qemu.Config{AccelFile: n.AccelFile, Logger: s.Log})
	if err != nil {
		return nil, nil, errors.Join(err, tpm.Close())
	}
	wire, relay, err := s.plug()
	if err != nil {
		return nil, nil, errors.Join(err, tpm.Close())
	}
	if wire != nil {
		defer wire.Tap.Close() // QEMU has its own
	}
	m, err := q.Start(ctx, machine.Spec{
		Name: s.ID, Folder: filepath.Join(s.Folder, "machine"), Disk: n.Disk, Memory: cmp.Or(s.Memory, n.Memory), CPUs: s.CPUs,
		Firmware: &machine.Firmware{Code: n.Code, Vars: n.Vars, SecureBoot: true},
		TPM:      tpm, InitData: s.Document, Wire: wire,
	})
	if err != nil {
		if relay != nil {
			relay.close()
		}
		return nil, nil, err
	}
	_ = tpm.Unlink() // its end tries again
	return m, relay, nil
}

func (s Spec) plug() (*machine.Wire, *relay, error) {
	if s.Netns == "" {
		return nil, nil, nil
	}
	wire, loopback, err := Plug(s.Netns)
	if err != nil {
		return nil, nil, err
	}
	wire.Link.Resolvers, wire.Link.Search, wire.Link.Ndots = s.DNS.Resolvers, s.DNS.Search, s.DNS.Ndots
	if err := wire.Link.Check(); err != nil {
		return nil, nil, errors.Join(err, wire.Tap.Close(), loopback.Close())
	}
	return wire, serveRelay(loopback, wire.Link.Address.Addr()), nil
}

// refusal is why the machine ended before it took calls.
func refusal(o machine.Outcome, document []byte) error {
	if r := o.Refusal; r != nil && r.InitDataDigest != "" {
		return fmt.Errorf("%s; its configuration is %s, which the broker's administrator authorises with %q",
			o, oci.SHA256(document), "holdfast broker allow "+string(oci.SHA256(document)))
	}
	return errors.New(o.String())
}

// read hears the machine's news to their end.
func (p *Pod) read(up chan<- struct{}) {
	for e := range p.machine.Events() {
		switch e.Event {
		case api.EventStarted:
			if up != nil {
				close(up)
				up = nil
			}
		case api.EventContainerExited:
			var exit api.ContainerExit
			if json.Unmarshal(e.Detail, &exit) == nil {
				p.tell(exit)
			}
		}
	}
}

// tell passes an exit on to who waits, once.
func (p *Pod) tell(exit api.ContainerExit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.exits[exit.ContainerParams]; c != nil {
		c <- exit // has room for the only one
		delete(p.exits, exit.ContainerParams)
	}
}

// Ended is closed when the machine is gone; Outcome then says how.
func (p *Pod) Ended() <-chan struct{} { return p.ended }

// Outcome is how the machine ended.
func (p *Pod) Outcome() string { <-p.ended; return p.outcome.String() }

// Stop asks all containers to end, within grace, and the machine with them. It returns
// when nothing of it is left.
func (p *Pod) Stop(ctx context.Context, grace time.Duration) {
	p.machine.Stop(ctx, grace)
	p.work.Wait()
}
