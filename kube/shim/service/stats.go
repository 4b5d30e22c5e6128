package service

import (
	"context"

	"github.com/containerd/cgroups/v3/cgroup2/stats"
	sandboxapi "github.com/containerd/containerd/api/runtime/sandbox/v1"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"holdfast/internal/api"
)

// Stats are of the container's control group in the machine, by the machine's word.
func (s tasks) Stats(ctx context.Context, r *taskapi.StatsRequest) (*taskapi.StatsResponse, error) {
	t, err := s.find(r.ID, "")
	if err != nil {
		return nil, err
	}
	d, err := t.container.Stats(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := metrics(d)
	return &taskapi.StatsResponse{Stats: raw}, err
}

// SandboxMetrics are the sum of the containers'. What the machine takes beside them is
// the node's: QEMU's memory and time, in the shim's control group.
func (s sandboxes) SandboxMetrics(ctx context.Context, _ *sandboxapi.SandboxMetricsRequest) (*sandboxapi.SandboxMetricsResponse, error) {
	b, err := s.find()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	var all []*task
	for _, t := range s.tasks {
		if t.exec == "" {
			all = append(all, t)
		}
	}
	s.mu.Unlock()
	var sum api.StatsDetail
	for _, t := range all {
		d, err := t.container.Stats(ctx)
		if err != nil {
			continue // it was deleted meanwhile
		}
		sum.MemoryBytes, sum.CPUMicros, sum.Processes = sum.MemoryBytes+d.MemoryBytes, sum.CPUMicros+d.CPUMicros, sum.Processes+d.Processes
		sum.InactiveBytes += d.InactiveBytes
	}
	raw, err := metrics(sum)
	return &sandboxapi.SandboxMetricsResponse{Metrics: &types.Metric{Timestamp: timestamppb.Now(), ID: b.spec.ID, Data: raw}}, err
}

func metrics(d api.StatsDetail) (*anypb.Any, error) {
	raw, err := anypb.New(&stats.Metrics{
		Memory: &stats.MemoryStat{Usage: d.MemoryBytes, UsageLimit: d.MemoryLimit, InactiveFile: d.InactiveBytes},
		CPU:    &stats.CPUStat{UsageUsec: d.CPUMicros},
		Pids:   &stats.PidsStat{Current: d.Processes},
	})
	if err == nil {
		raw.TypeUrl = "io.containerd.cgroups.v2.Metrics" // as typeurl has it registered
	}
	return raw, err
}
