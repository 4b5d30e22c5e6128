package service

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	sandboxapi "github.com/containerd/containerd/api/runtime/sandbox/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"holdfast/internal/wiring/pod"
)

// Annotation is the pod's that has its measured configuration, as text.
const Annotation = "holdfast/init-data"

// bootTime is how long a machine may take until it takes calls. Its caller waits less
// long, as a rule.
const bootTime = 5 * time.Minute

// A box is a pod: planned, running, or over.
type box struct {
	spec pod.Spec
	node pod.Node
	// ctx ends when nobody wants it any more, and what starts it with it.
	ctx    context.Context
	cancel context.CancelFunc

	start   sync.Mutex // held while it starts or stops
	pod     *pod.Pod   // nil before it started; guarded by the service's mu, as is created
	created time.Time
	over    chan struct{} // closed when it ended, or will never start
	ended   time.Time     // set before over is closed
	once    sync.Once
}

func (b *box) end() { b.once.Do(func() { b.ended = time.Now(); close(b.over) }) }

// sandboxes is the service as the Sandbox API.
type sandboxes struct{ *service }

var errNoSandbox = fmt.Errorf("this shim has no such sandbox: %w", errdefs.ErrNotFound)

func (s sandboxes) find() (*box, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.box == nil {
		return nil, errgrpc.ToGRPC(errNoSandbox)
	}
	return s.box, nil
}

// CreateSandbox takes down what the pod is. Its options are the CRI's.
func (s sandboxes) CreateSandbox(_ context.Context, r *sandboxapi.CreateSandboxRequest) (*sandboxapi.CreateSandboxResponse, error) {
	var c cri.PodSandboxConfig
	if err := proto.Unmarshal(r.GetOptions().GetValue(), &c); err != nil {
		return nil, fmt.Errorf("the pod's configuration: %w", err)
	}
	spec, err := planned(&c)
	if err != nil {
		return nil, err
	}
	node, err := s.node()
	if err != nil {
		return nil, err
	}
	spec.ID, spec.Folder, spec.Netns = r.SandboxID, filepath.Join(r.BundlePath, "guest"), r.NetnsPath
	if err := os.MkdirAll(spec.Folder, 0o700); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.box != nil {
		return nil, errgrpc.ToGRPC(errdefs.ErrAlreadyExists)
	}
	s.box = &box{spec: spec, node: node, over: make(chan struct{})}
	s.box.ctx, s.box.cancel = context.WithCancel(s.ctx)
	return &sandboxapi.CreateSandboxResponse{}, nil
}

// errHostNetwork refuses what would make the machine's network the node's.
var errHostNetwork = errors.New("hostNetwork: a confidential pod has a network of its own")

// planned reads of the CRI's configuration what a machine is made from.
func planned(c *cri.PodSandboxConfig) (s pod.Spec, err error) {
	options := c.GetLinux().GetSecurityContext().GetNamespaceOptions()
	if options.GetNetwork() == cri.NamespaceMode_NODE {
		return s, errHostNetwork
	}
	s.Document = []byte(c.GetAnnotations()[Annotation])
	if len(s.Document) == 0 {
		return s, pod.ErrNotSealed
	}
	if s.DNS, err = dns(c.GetDnsConfig()); err != nil {
		return s, err
	}
	resources := c.GetLinux().GetResources()
	s.Memory = size(resources.GetMemoryLimitInBytes(), c.GetLinux().GetOverhead().GetMemoryLimitInBytes())
	if quota, period := resources.GetCpuQuota(), resources.GetCpuPeriod(); quota > 0 && period > 0 {
		s.CPUs = int((quota + period - 1) / period)
	}
	return s, nil
}

// dns reads whom the pod asks for names.
func dns(c *cri.DNSConfig) (d pod.DNS, err error) {
	d.Search = c.GetSearches()
	for _, server := range c.GetServers() {
		ip, err := netip.ParseAddr(server)
		if err != nil {
			return d, fmt.Errorf("name server: %w", err)
		}
		d.Resolvers = append(d.Resolvers, ip)
	}
	for _, option := range c.GetOptions() {
		if n, ok := strings.CutPrefix(option, "ndots:"); ok {
			if d.Ndots, err = strconv.Atoi(n); err != nil {
				return d, fmt.Errorf("option ndots: %w", err)
			}
		}
	}
	return d, nil
}

// usualOverhead is what a machine has beside its pod's limit where its RuntimeClass says
// nothing (overhead.podFixed): its kernel and programs, and the images, unpacked.
const usualOverhead = 256 << 20

// size is a machine's memory in MiB, rounded up; 0: the pod has no limit, and the node says
// how large its machine is.
func size(limit, overhead int64) int {
	if limit <= 0 {
		return 0
	}
	if overhead <= 0 {
		overhead = usualOverhead
	}
	return int((limit + overhead + 1<<20 - 1) >> 20)
}

// StartSandbox boots the machine.
func (s sandboxes) StartSandbox(ctx context.Context, _ *sandboxapi.StartSandboxRequest) (*sandboxapi.StartSandboxResponse, error) {
	b, err := s.find()
	if err != nil {
		return nil, err
	}
	b.start.Lock()
	defer b.start.Unlock()
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	defer context.AfterFunc(b.ctx, cancel)()
	p, err := b.node.Start(ctx, b.spec)
	if err != nil {
		b.end()
		return nil, err
	}
	now := time.Now()
	s.mu.Lock()
	b.pod, b.created = p, now
	s.mu.Unlock()
	go func() { <-p.Ended(); b.end() }()
	return &sandboxapi.StartSandboxResponse{Pid: uint32(os.Getpid()), CreatedAt: timestamppb.New(now)}, nil
}

// Platform is this machine's: guests emulate no other.
func (sandboxes) Platform(context.Context, *sandboxapi.PlatformRequest) (*sandboxapi.PlatformResponse, error) {
	return &sandboxapi.PlatformResponse{Platform: &types.Platform{OS: "linux", Architecture: runtime.GOARCH}}, nil
}

// usualGrace is for a caller that does not say how long containers may take to end:
// as a rule they have ended before.
const usualGrace = 10 * time.Second

// StopSandbox ends the machine.
func (s sandboxes) StopSandbox(ctx context.Context, r *sandboxapi.StopSandboxRequest) (*sandboxapi.StopSandboxResponse, error) {
	b, err := s.find()
	if err != nil {
		return nil, err
	}
	grace := time.Duration(r.TimeoutSecs) * time.Second
	if grace == 0 {
		grace = usualGrace
	}
	b.cancel()
	b.start.Lock()
	defer b.start.Unlock()
	if p, _ := s.at(b); p != nil {
		p.Stop(ctx, grace)
	}
	b.end()
	return &sandboxapi.StopSandboxResponse{}, nil
}

// at gives the machine of a box, once it is there, and since when.
func (s *service) at(b *box) (*pod.Pod, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return b.pod, b.created
}

// WaitSandbox returns when the machine is gone.
func (s sandboxes) WaitSandbox(ctx context.Context, _ *sandboxapi.WaitSandboxRequest) (*sandboxapi.WaitSandboxResponse, error) {
	b, err := s.find()
	if err != nil {
		return nil, err
	}
	select {
	case <-b.over:
		return &sandboxapi.WaitSandboxResponse{ExitedAt: timestamppb.New(b.ended)}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// SandboxStatus tells whether the machine is there.
func (s sandboxes) SandboxStatus(context.Context, *sandboxapi.SandboxStatusRequest) (*sandboxapi.SandboxStatusResponse, error) {
	b, err := s.find()
	if err != nil {
		return nil, err
	}
	_, created := s.at(b)
	status := &sandboxapi.SandboxStatusResponse{SandboxID: b.spec.ID, Pid: uint32(os.Getpid()), State: cri.PodSandboxState_SANDBOX_READY.String(), CreatedAt: timestamppb.New(created)}
	select {
	case <-b.over:
		status.State, status.ExitedAt = cri.PodSandboxState_SANDBOX_NOTREADY.String(), timestamppb.New(b.ended)
	default:
	}
	return status, nil
}

// PingSandbox says that the shim is there.
func (sandboxes) PingSandbox(context.Context, *sandboxapi.PingRequest) (*sandboxapi.PingResponse, error) {
	return &sandboxapi.PingResponse{}, nil
}

// ShutdownSandbox ends the machine, if it is there, and the shim.
func (s sandboxes) ShutdownSandbox(ctx context.Context, _ *sandboxapi.ShutdownSandboxRequest) (*sandboxapi.ShutdownSandboxResponse, error) {
	if _, err := s.StopSandbox(ctx, &sandboxapi.StopSandboxRequest{}); err != nil && !errdefs.IsNotFound(errgrpc.ToNative(err)) {
		return nil, err
	}
	s.down.Shutdown()
	return &sandboxapi.ShutdownSandboxResponse{}, nil
}

// UpdateSandbox would change a machine's size.
func (sandboxes) UpdateSandbox(context.Context, *sandboxapi.UpdateSandboxRequest) (*sandboxapi.UpdateSandboxResponse, error) {
	return nil, errgrpc.ToGRPC(fmt.Errorf("a confidential pod keeps the size it began with: %w", errdefs.ErrNotImplemented))
}
