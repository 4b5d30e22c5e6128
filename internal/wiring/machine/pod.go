package machine

import (
	"context"
	"fmt"
	"net/netip"

	"holdfast/internal/api"
	"holdfast/internal/guest"
	"holdfast/internal/node"
)

// runPod runs the pod of a configuration. The machine is proved again for each
// container.
func runPod(ctx context.Context, hardware *lateHardware, j node.Job, c guest.Config) (exit api.ExitDetail, err error) {
	// A pod's network is the cluster's, with rules of its own: what is near are other
	// pods. Link-local addresses stay out of reach, and all neighbours at once.
	c.Egress.Address = netip.PrefixFrom(netip.IPv4Unspecified(), 32)
	p := guest.PodConfig{Config: c, Calls: j.Pod.Calls, Open: j.Pod.Open, Tell: j.Pod.Tell}
	if j.Config.Broker.URL == "" {
		return guest.RunPod(ctx, p)
	}
	attester, err := hardware.open()
	if err != nil {
		return exit, &node.Refusal{Stage: "config", Err: fmt.Errorf("broker: %w", err)}
	}
	p.NewBroker = func() (guest.Broker, error) { return newBroker(attester, j.Config.Broker, j.Document, silence) }
	return guest.RunPod(ctx, p)
}
