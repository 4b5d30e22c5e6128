package service

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/anypb"

	"holdfast/internal/machine"
	"holdfast/internal/wiring/pod"
)

// heard are the topics that containerd was told of.
type heard []string

func (h *heard) Publish(_ context.Context, topic string, _ events.Event) error {
	*h = append(*h, topic)
	return nil
}

// A container that was killed while it was started stays over, and its end is told once.
func TestAKilledContainerDoesNotComeBackByItsStart(t *testing.T) {
	var told heard
	s := tasks{newService(t.Context(), "", &told, nil)}
	one := &task{request: &taskapi.CreateTaskRequest{ID: "c"}, over: make(chan struct{}), status: tasktypes.Status_CREATED}
	s.tasks[name{"c", ""}] = one
	if _, err := s.Kill(t.Context(), &taskapi.KillRequest{ID: "c", Signal: 9}); err != nil {
		t.Fatal(err)
	}
	if one.begun() {
		t.Error("it runs again")
	}
	s.ended(one, 0) // what the machine says of the one that was started
	if one.status != tasktypes.Status_STOPPED || one.code != 137 || len(told) != 1 {
		t.Errorf("got %v, code %d, told %q, want it stopped with 137, told once", one.status, one.code, told)
	}
}

func TestOnlyPolicyIsForbidden(t *testing.T) {
	policy := &machine.CallError{Call: "exec", Reason: `container c: command ["sh"] is not in the measured configuration`}
	for _, c := range []struct{ err, want error }{
		{policy, errdefs.ErrPermissionDenied},
		{fmt.Errorf("pod: %w", policy), errdefs.ErrPermissionDenied},
		{&machine.CallError{Call: "exec", Reason: "container c: does not run"}, errdefs.ErrFailedPrecondition},
		{&machine.CallError{Call: "exec", Reason: "as many commands run as there are streams for"}, errdefs.ErrFailedPrecondition},
		{errors.New("the machine ended"), errdefs.ErrUnavailable},
		{context.DeadlineExceeded, errdefs.ErrUnavailable},
	} {
		if got := kind(c.err); got != c.want {
			t.Errorf("%v: got %v, want %v", c.err, got, c.want)
		}
	}
}

// The machine, which is not there, is not asked for a command whose pipes are not.
func TestACommandIsNamedOnceItsPipesAreThere(t *testing.T) {
	s := tasks{newService(t.Context(), "", nil, nil)}
	s.tasks[name{"c", ""}] = &task{request: &taskapi.CreateTaskRequest{ID: "c"}, container: &pod.Container{}}
	r := &taskapi.ExecProcessRequest{ID: "c", ExecID: "e", Stdout: filepath.Join(t.TempDir(), "none"), Spec: &anypb.Any{Value: []byte("{}")}}
	if _, err := s.Exec(t.Context(), r); err == nil || !strings.Contains(err.Error(), "none: no such file") {
		t.Errorf("got %v, want the pipe named", err)
	}
}
