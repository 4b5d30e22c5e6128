package service

import (
	"context"

	"github.com/containerd/cgroups/v3/cgroup2/stats"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"google.golang.org/protobuf/types/known/anypb"
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
	raw, err := anypb.New(&stats.Metrics{
		Memory: &stats.MemoryStat{Usage: d.MemoryBytes},
		CPU:    &stats.CPUStat{UsageUsec: d.CPUMicros},
		Pids:   &stats.PidsStat{Current: d.Processes},
	})
	if err != nil {
		return nil, err
	}
	raw.TypeUrl = "io.containerd.cgroups.v2.Metrics" // as typeurl has it registered
	return &taskapi.StatsResponse{Stats: raw}, nil
}
