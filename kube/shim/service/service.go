package service

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"

	sandboxapi "github.com/containerd/containerd/api/runtime/sandbox/v1"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"github.com/containerd/ttrpc"

	"holdfast/internal/wiring/pod"
)

// Register makes the service known to package shim. The file that config names is
// read when a pod is created.
func Register(config *string) {
	registry.Register(&plugin.Registration{
		Type:     plugins.TTRPCPlugin,
		ID:       "pod",
		Requires: []plugin.Type{plugins.EventPlugin, plugins.InternalPlugin},
		InitFn: func(ic *plugin.InitContext) (any, error) {
			publisher, err := ic.GetByID(plugins.EventPlugin, "publisher")
			if err != nil {
				return nil, err
			}
			down, err := ic.GetByID(plugins.InternalPlugin, "shutdown")
			if err != nil {
				return nil, err
			}
			// Nothing is said before the context of the shim ends: its pod does.
			return newService(ic.Context, *config, publisher.(shim.Publisher), down.(shutdown.Service)), nil
		},
	})
}

// A service is one pod.
type service struct {
	ctx       context.Context // the shim's
	config    string
	publisher events.Publisher
	down      shutdown.Service

	mu    sync.Mutex
	box   *box // nil before it is created; guarded by mu, as are all below
	tasks map[name]*task
}

// A name is containerd's of a container, or of a command in one.
type name struct{ container, exec string }

func newService(ctx context.Context, config string, publisher events.Publisher, down shutdown.Service) *service {
	return &service{ctx: ctx, config: config, publisher: publisher, down: down, tasks: map[name]*task{}}
}

// RegisterTTRPC is called by package shim.
func (s *service) RegisterTTRPC(server *ttrpc.Server) error {
	sandboxapi.RegisterTTRPCSandboxService(server, s.sandbox())
	taskapi.RegisterTTRPCTaskService(server, tasks{s})
	return nil
}

func (s *service) sandbox() sandboxapi.TTRPCSandboxService { return sandboxes{s} }

// node reads how machines are run here.
func (s *service) node() (n pod.Node, err error) {
	raw, err := os.ReadFile(s.config)
	if err == nil {
		err = json.Unmarshal(raw, &n)
	}
	if err == nil {
		err = n.Check()
	}
	if err != nil {
		return n, fmt.Errorf("%s: %w", s.config, err)
	}
	return n, nil
}
