package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"holdfast/internal/api"
)

// Errors of a cluster that was made without some of its Extras.
var (
	ErrPlain    = errors.New("it was made without confidential pods: delete it first")
	ErrNoGVisor = errors.New("it was made without gVisor: delete it first")
)

// cover says whether there is all that is wanted.
func (x Extras) cover(want Extras) error {
	switch {
	case want.Confidential && !x.Confidential:
		return ErrPlain
	case want.GVisor && !x.GVisor:
		return ErrNoGVisor
	}
	return nil
}

// PodMachines are how nodes run confidential pods: each as a machine of its own.
type PodMachines struct {
	Config []byte     // of the shim
	Binds  []api.Bind // what machines are made from, as Config has it
}

const (
	podsFile      = "pods.json"
	snapshotsAt   = "/run/holdfast/snapshots.sock"
	snapshotsKept = "/var/lib/holdfast/snapshots"
)

// File is the shim's configuration in a node.
func (*PodMachines) File() string { return etc + "/" + podsFile }

// Socket is where containerd finds the snapshotter.
func (*PodMachines) Socket() string { return snapshotsAt }

// Snapshots is the folder that the snapshotter keeps.
func (*PodMachines) Snapshots() string { return snapshotsKept }

// The snapshotter has no content: images of such pods are opened in them alone.
var snapshotter = api.Service{Name: "snapshotter", Argv: []string{"/opt/holdfast/bin/containerd-shim-holdfast-v2", "snapshotter", snapshotsAt, snapshotsKept}}

// registryNames are those that pods' machines can have for the registry, too: it listens
// on the bridge.
func (s *Spec) registryNames() []string {
	return []string{net.JoinHostPort(s.Network.Gateway.String(), "5000")}
}

// A Pod is one of a cluster, as its API server tells.
type Pod struct {
	Phase       string
	Started     time.Time
	Annotations map[string]string
}

// Pod asks for one.
func (f *Fleet) Pod(ctx context.Context, cluster, namespace, name string) (*Pod, error) {
	s, err := f.load(cluster)
	if err != nil {
		return nil, err
	}
	client, err := f.reader(s)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var p struct {
		Metadata struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
		Status struct {
			Phase   string    `json:"phase"`
			Started time.Time `json:"startTime"`
		} `json:"status"`
	}
	path := "/api/v1/namespaces/" + url.PathEscape(namespace) + "/pods/" + url.PathEscape(name)
	if err := client.Get(ctx, path, &p); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", cluster, err)
	}
	return &Pod{p.Status.Phase, p.Status.Started, p.Metadata.Annotations}, nil
}
