package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"syscall"

	taskevents "github.com/containerd/containerd/api/events"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/emptypb"

	"holdfast/internal/api"
	"holdfast/internal/machine"
)

// Exec has the machine take down a command, if its configuration lets it. Of what the
// node says of it, arguments and terminal are heard: user, variables and the rest are the
// container's.
func (s tasks) Exec(ctx context.Context, r *taskapi.ExecProcessRequest) (*emptypb.Empty, error) {
	in, err := s.find(r.ID, "")
	if err != nil {
		return nil, err
	}
	var p specs.Process
	if err := json.Unmarshal(r.GetSpec().GetValue(), &p); err != nil {
		return nil, fmt.Errorf("the command's specification: %w", err)
	}
	request := &taskapi.CreateTaskRequest{ID: r.ID, Bundle: in.request.Bundle, Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal}
	streams, err := openStreams(s.ctx, request) // first, as in Create
	if err != nil {
		return nil, err
	}
	container, err := in.container.Exec(ctx, p.Args, r.Terminal, r.Stdin != "")
	if err != nil {
		streams.close()
		return nil, errgrpc.ToGRPC(fmt.Errorf("%w: %w", err, kind(err)))
	}
	t := &task{request: request, exec: r.ExecID, container: container, streams: streams, over: make(chan struct{}), status: tasktypes.Status_CREATED}
	container.Output(t.streams.stdout, t.streams.stderr)
	t.streams.feed(container.Input())
	s.mu.Lock()
	s.tasks[name{r.ID, r.ExecID}] = t
	s.mu.Unlock()
	s.publish(runtime.TaskExecAddedEventTopic, &taskevents.TaskExecAdded{ContainerID: r.ID, ExecID: r.ExecID})
	return &emptypb.Empty{}, nil
}

// kind is what containerd is told of a call that was not answered well: that it is
// forbidden, that it is of no use now, or that the machine gave no answer.
func kind(err error) error {
	refused, ok := errors.AsType[*machine.CallError](err)
	switch {
	case !ok:
		return errdefs.ErrUnavailable
	case strings.Contains(refused.Reason, "the measured configuration"):
		return errdefs.ErrPermissionDenied
	}
	return errdefs.ErrFailedPrecondition
}

// id is what containerd calls the process.
func (t *task) id() string {
	if t.exec != "" {
		return t.exec
	}
	return t.request.ID
}

// heed passes on how a container or a command ended, and what it left to be said.
func (s tasks) heed(t *task, e api.ContainerExit) {
	if e.OOMKilled {
		s.publish(runtime.TaskOOMEventTopic, &taskevents.TaskOOM{ContainerID: t.request.ID})
	}
	if e.Message != "" && t.message != "" {
		if err := tell(t.message, e.Message); err != nil {
			fmt.Fprintln(os.Stderr, "the container's last words:", err)
		}
	}
	s.ended(t, uint32(e.Code))
}

// tell writes into a file that a kubelet has made and will read.
func tell(path, words string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(words)
	return errors.Join(err, f.Close())
}

// ResizePty sets the size of a terminal.
func (s tasks) ResizePty(ctx context.Context, r *taskapi.ResizePtyRequest) (*emptypb.Empty, error) {
	t, err := s.find(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	size := func(n uint32) uint16 { return uint16(min(n, math.MaxUint16)) }
	return &emptypb.Empty{}, t.container.Resize(ctx, size(r.Width), size(r.Height))
}
