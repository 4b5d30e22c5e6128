// Package machine makes process 1 of a machine image out of its parts.
//
// It is the only place that knows node, guest and attest together; none of
// them knows another.
package machine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest/kbc"
	"holdfast/internal/egress"
	"holdfast/internal/guest"
	"holdfast/internal/node"
	"holdfast/internal/oci"
)

// frugal is the size above which process 1 collects its garbage sooner: what
// it holds, the workload's image cannot have.
const frugal = 24 << 20

// Run is the whole life of process 1. When it returns, the machine is off.
func Run() {
	debug.SetMemoryLimit(frugal)
	hardware, is := new(lateHardware), new(identified)
	node.Run(context.Background(), node.Config{
		Measurer:  hardware,
		Prepare:   hardware.Prepare,
		Provision: is.applyIgnition,
		Identify: func(ctx context.Context, i node.Identification) (string, error) {
			text, err := is.identify(ctx, hardware, i)
			if err != nil {
				err = refusal(&node.Refusal{Stage: "identity", Err: err}, i.Document)
			}
			return text, err
		},
		Workload: func(ctx context.Context, j node.Job) (api.ExitDetail, error) {
			exit, err := runGuest(ctx, hardware, j)
			return exit, refusal(err, j.Document)
		},
	})
}

func runGuest(ctx context.Context, hardware *lateHardware, j node.Job) (exit api.ExitDetail, err error) {
	registry, err := Pinned(j.Config.Registry)
	if err != nil {
		return exit, &node.Refusal{Stage: "config", Err: fmt.Errorf("registry: %w", err)}
	}
	c := guest.Config{
		Guest: j.Config, HTTP: registry, Processes: j.Processes,
		Stdio: j.Stdio, Signals: j.Signals, Stop: j.Stop, Grace: j.Grace, Stage: j.Stage, Started: j.Started, Resolver: j.Resolver,
		Egress: egress.Rules{Address: j.Link.Address, Resolvers: j.Link.Resolvers},
	}
	if j.Config.Pod != nil {
		return runPod(ctx, hardware, j, c)
	}
	if j.Config.Broker.URL == "" {
		return guest.Run(ctx, c)
	}
	attester, err := hardware.open()
	if err != nil {
		return exit, &node.Refusal{Stage: "config", Err: fmt.Errorf("broker: %w", err)}
	}
	broker, err := newBroker(attester, j.Config.Broker, j.Document, silence)
	if err != nil {
		return exit, &node.Refusal{Stage: "config", Err: fmt.Errorf("broker: %w", err)}
	}
	defer broker.Close()
	c.Broker = broker
	h, end, err := newHub(attester, j.Config, j.Document)
	if err != nil {
		return exit, &node.Refusal{Stage: "config", Err: fmt.Errorf("api: %w", err)}
	}
	defer end()
	c.API = h
	return guest.Run(ctx, c)
}

func newBroker(attester kbc.Attester, broker api.Endpoint, document []byte, silence time.Duration) (*kbc.Client, error) {
	client, err := pinned(broker, silence)
	if err != nil {
		return nil, err
	}
	return kbc.New(kbc.Config{URL: broker.URL, HTTP: client, Attester: attester, InitData: document})
}

// A Puller is a machine up to its container's root, on any host: with its
// clients, its attestation and its checks, and without its kernel.
type Puller struct {
	Attester kbc.Attester
	Config   api.GuestConfig
	Document []byte        // Config as it was measured
	Dir      string        // in which rootfs is made
	Space    int64         // as guest.Config has it
	Silence  time.Duration // how long a service may send nothing; 30 seconds when 0
	Backoff  time.Duration // as guest.Config has it
}

// Pull proves the machine, and pulls, verifies, decrypts and unpacks its image.
func (p Puller) Pull(ctx context.Context) (rootfs string, err error) {
	p.Silence = cmp.Or(p.Silence, silence)
	registry, err := pinned(p.Config.Registry, p.Silence)
	if err != nil {
		return "", err
	}
	defer registry.CloseIdleConnections()
	broker, err := newBroker(p.Attester, p.Config.Broker, p.Document, p.Silence)
	if err != nil {
		return "", err
	}
	defer broker.Close()
	return guest.Pull(ctx, guest.Config{Guest: p.Config, HTTP: registry, Broker: broker, Dir: p.Dir, Space: p.Space, Backoff: p.Backoff})
}

// refusal adds the configuration's digest to what the broker refused: the
// host may want to have it authorised.
func refusal(err error, document []byte) error {
	var problem *kbc.Problem
	var r interface{ Refused() api.RefusedDetail }
	if !errors.As(err, &problem) || !errors.As(err, &r) {
		return err
	}
	d := r.Refused()
	d.InitDataDigest = string(oci.SHA256(document))
	return &brokerRefusal{err, d}
}

type brokerRefusal struct {
	error
	detail api.RefusedDetail
}

func (r *brokerRefusal) Refused() api.RefusedDetail { return r.detail }
func (r *brokerRefusal) Unwrap() error              { return r.error }
