// Package machine makes process 1 of a machine image out of its parts.
//
// It is the only place that knows node, guest and attest together; none of
// them knows another.
package machine

import (
	"context"
	"errors"

	"holdfast/internal/api"
	"holdfast/internal/node"
)

// Run is the whole life of process 1. When it returns, the machine is off.
func Run() {
	node.Run(context.Background(), node.Config{
		Workload: func(context.Context, node.Job) (api.ExitDetail, error) {
			return api.ExitDetail{}, &node.Refusal{Stage: "pull", Err: errors.New("not built yet")}
		},
	})
}
