package service

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	taskevents "github.com/containerd/containerd/api/events"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"holdfast/internal/wiring/pod"
)

// A task is one container of the pod, as containerd calls it, or a command in one.
type task struct {
	request   *taskapi.CreateTaskRequest
	exec      string // containerd's id of a command; empty: it is a container
	message   string // the node's file of the container's last words; empty: none
	container *pod.Container
	streams   *streams
	over      chan struct{} // closed when it ended, or was killed before it began

	mu      sync.Mutex
	status  tasktypes.Status // guarded by mu, as are all below
	code    uint32
	endedAt time.Time
}

// tasks is the service as the Task API.
type tasks struct{ *service }

func (s tasks) find(id, exec string) (*task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tasks[name{id, exec}]; t != nil {
		return t, nil
	}
	return nil, errgrpc.ToGRPC(fmt.Errorf("container %s %s: %w", id, exec, errdefs.ErrNotFound))
}

func (s tasks) running() (*pod.Pod, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.box == nil || s.box.pod == nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("there is no machine for it: a container needs a pod (sandboxer = 'shim'): %w", errdefs.ErrFailedPrecondition))
	}
	return s.box.pod, nil
}

func pid() uint32 { return uint32(os.Getpid()) }

// Create has the machine pull and unpack a container.
func (s tasks) Create(ctx context.Context, r *taskapi.CreateTaskRequest) (*taskapi.CreateTaskResponse, error) {
	p, err := s.running()
	if err != nil {
		return nil, err
	}
	params, sources, err := believed(r)
	if err != nil {
		return nil, err
	}
	streams, err := openStreams(s.ctx, r) // first: the machine has nothing then that nobody knows of
	if err != nil {
		return nil, err
	}
	container, err := p.Create(ctx, params)
	if err != nil {
		streams.close()
		return nil, err
	}
	t := &task{request: r, message: sources[container.Message()], container: container, streams: streams, over: make(chan struct{}), status: tasktypes.Status_CREATED}
	container.Output(t.streams.stdout, t.streams.stderr)
	t.streams.feed(container.Input())
	s.mu.Lock()
	s.tasks[name{r.ID, ""}] = t
	s.mu.Unlock()
	s.publish(runtime.TaskCreateEventTopic, &taskevents.TaskCreate{
		ContainerID: r.ID, Bundle: r.Bundle, Rootfs: r.Rootfs, Pid: pid(),
		IO: &taskevents.TaskIO{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal},
	})
	return &taskapi.CreateTaskResponse{Pid: pid()}, nil
}

// Start lets it run.
func (s tasks) Start(ctx context.Context, r *taskapi.StartRequest) (*taskapi.StartResponse, error) {
	t, err := s.find(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	if err := t.container.Start(ctx); err != nil {
		return nil, err
	}
	if !t.begun() {
		if t.container.Kill(ctx, int(syscall.SIGKILL)) == nil {
			t.container.Wait()
		}
		return nil, errEnded(r.ID)
	}
	if r.ExecID != "" {
		s.publish(runtime.TaskExecStartedEventTopic, &taskevents.TaskExecStarted{ContainerID: r.ID, ExecID: r.ExecID, Pid: pid()})
	} else {
		s.publish(runtime.TaskStartEventTopic, &taskevents.TaskStart{ContainerID: r.ID, Pid: pid()})
	}
	go func() { s.heed(t, t.container.Wait()) }()
	return &taskapi.StartResponse{Pid: pid()}, nil
}

// begun notes that a container runs, unless it was killed while it was started: what
// containerd was told of the end stays true.
func (t *task) begun() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.status != tasktypes.Status_CREATED {
		return false
	}
	t.status = tasktypes.Status_RUNNING
	return true
}

// ended notes how a container ended, once.
func (s tasks) ended(t *task, code uint32) {
	t.mu.Lock()
	if t.status == tasktypes.Status_STOPPED {
		t.mu.Unlock()
		return
	}
	t.status, t.code, t.endedAt = tasktypes.Status_STOPPED, code, time.Now()
	at := timestamppb.New(t.endedAt)
	t.mu.Unlock()
	close(t.over)
	s.publish(runtime.TaskExitEventTopic, &taskevents.TaskExit{ContainerID: t.request.ID, ID: t.id(), Pid: pid(), ExitStatus: code, ExitedAt: at})
}

// publish tells containerd; what it does not hear, it asks for.
func (s tasks) publish(topic string, event any) {
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
	defer cancel()
	_ = s.publisher.Publish(ctx, topic, event)
}

// State tells how a container is.
func (s tasks) State(_ context.Context, r *taskapi.StateRequest) (*taskapi.StateResponse, error) {
	t, err := s.find(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	state := &taskapi.StateResponse{
		ID: r.ID, ExecID: t.exec, Bundle: t.request.Bundle, Pid: pid(), Status: t.status,
		Stdin: t.request.Stdin, Stdout: t.request.Stdout, Stderr: t.request.Stderr, ExitStatus: t.code,
	}
	if !t.endedAt.IsZero() {
		state.ExitedAt = timestamppb.New(t.endedAt)
	}
	return state, nil
}

// Wait returns when a container ended.
func (s tasks) Wait(ctx context.Context, r *taskapi.WaitRequest) (*taskapi.WaitResponse, error) {
	t, err := s.find(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	select {
	case <-t.over:
		return &taskapi.WaitResponse{ExitStatus: t.code, ExitedAt: timestamppb.New(t.endedAt)}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Kill sends a signal. A container that was not started is over by any.
func (s tasks) Kill(ctx context.Context, r *taskapi.KillRequest) (*emptypb.Empty, error) {
	t, err := s.find(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	status := t.status
	t.mu.Unlock()
	switch {
	case status == tasktypes.Status_STOPPED:
		return nil, errEnded(r.ID)
	case status == tasktypes.Status_CREATED:
		s.ended(t, 128+r.Signal)
		return &emptypb.Empty{}, nil
	}
	err = t.container.Kill(ctx, int(r.Signal))
	if err != nil && t.endsWithin(newsTime) {
		err = errEnded(r.ID)
	}
	return &emptypb.Empty{}, err
}

// newsTime is how long the news of an end may be on its way.
const newsTime = 2 * time.Second

func (t *task) endsWithin(patience time.Duration) bool {
	select {
	case <-t.over:
		return true
	case <-time.After(patience):
		return false
	}
}

func errEnded(id string) error {
	return errgrpc.ToGRPC(fmt.Errorf("container %s has ended: %w", id, errdefs.ErrNotFound))
}

// Delete forgets a container that has ended, in the machine too where that is there.
func (s tasks) Delete(ctx context.Context, r *taskapi.DeleteRequest) (*taskapi.DeleteResponse, error) {
	t, err := s.find(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	status, code, at := t.status, t.code, timestamppb.New(t.endedAt)
	t.mu.Unlock()
	if status == tasktypes.Status_RUNNING {
		return nil, errgrpc.ToGRPC(fmt.Errorf("container %s runs: %w", r.ID, errdefs.ErrFailedPrecondition))
	}
	if r.ExecID != "" { // containerd has read its output, or whoever asked for it is gone
		t.streams.hangUp()
	}
	if err := t.container.Delete(ctx); err != nil && t.container.Alive() {
		return nil, err
	}
	t.streams.close()
	s.mu.Lock()
	delete(s.tasks, name{r.ID, r.ExecID})
	s.mu.Unlock()
	if r.ExecID != "" {
		return &taskapi.DeleteResponse{Pid: pid(), ExitStatus: code, ExitedAt: at}, nil
	}
	s.publish(runtime.TaskDeleteEventTopic, &taskevents.TaskDelete{ContainerID: r.ID, ID: r.ID, Pid: pid(), ExitStatus: code, ExitedAt: at})
	return &taskapi.DeleteResponse{Pid: pid(), ExitStatus: code, ExitedAt: at}, nil
}

// CloseIO has nothing to do: input ends for the container when containerd has closed its
// own end of the pipe, which it does before, and all that is in the pipe was read.
func (s tasks) CloseIO(_ context.Context, r *taskapi.CloseIORequest) (*emptypb.Empty, error) {
	_, err := s.find(r.ID, r.ExecID)
	return &emptypb.Empty{}, err
}

// Pids shows none of the machine's processes.
func (s tasks) Pids(_ context.Context, r *taskapi.PidsRequest) (*taskapi.PidsResponse, error) {
	_, err := s.find(r.ID, "")
	return &taskapi.PidsResponse{Processes: []*tasktypes.ProcessInfo{{Pid: pid()}}}, err
}

// Connect tells who the shim is.
func (s tasks) Connect(context.Context, *taskapi.ConnectRequest) (*taskapi.ConnectResponse, error) {
	return &taskapi.ConnectResponse{ShimPid: pid(), TaskPid: pid()}, nil
}

// Shutdown is for shims without a sandbox: this one ends with its own.
func (s tasks) Shutdown(context.Context, *taskapi.ShutdownRequest) (*emptypb.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.box == nil {
		s.down.Shutdown()
	}
	return &emptypb.Empty{}, nil
}

// refused asks the machine for what it will refuse, so that it says why and has it
// on record.
func (s tasks) refused(ctx context.Context, call string) error {
	p, err := s.running()
	if err != nil {
		return err
	}
	if err := p.Ask(ctx, call); err != nil {
		return errgrpc.ToGRPC(fmt.Errorf("%w: %w", err, kind(err)))
	}
	return errgrpc.ToGRPC(fmt.Errorf("%s: %w", call, errdefs.ErrNotImplemented))
}

// The calls that no configuration allows yet.

func (s tasks) Update(ctx context.Context, _ *taskapi.UpdateTaskRequest) (*emptypb.Empty, error) {
	return nil, s.refused(ctx, "update")
}

func (s tasks) Pause(ctx context.Context, _ *taskapi.PauseRequest) (*emptypb.Empty, error) {
	return nil, s.refused(ctx, "pause")
}

func (s tasks) Resume(ctx context.Context, _ *taskapi.ResumeRequest) (*emptypb.Empty, error) {
	return nil, s.refused(ctx, "resume")
}

func (s tasks) Checkpoint(ctx context.Context, _ *taskapi.CheckpointTaskRequest) (*emptypb.Empty, error) {
	return nil, s.refused(ctx, "checkpoint")
}
