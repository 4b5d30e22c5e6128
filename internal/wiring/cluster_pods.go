package wiring

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	"holdfast/internal/api"
	"holdfast/internal/cluster"
)

// Where a node has what pods' machines are made from.
const podMachinesIn = "/opt/holdfast/machines"

// podMachines are how nodes run confidential pods: from this installation's machine
// image and firmware, with software TPMs that its broker believes.
func (c ClusterConfig) podMachines(ctx context.Context) (*cluster.PodMachines, error) {
	n, err := c.Builder.PodNode(ctx, filepath.Join(c.Images, "guest"))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(n.TPMAuthority, 0o700); err != nil {
		return nil, err
	}
	out := &cluster.PodMachines{}
	for name, path := range map[string]*string{"disk": &n.Disk, "code.fd": &n.Code, "vars.fd": &n.Vars, "tpm-ca": &n.TPMAuthority} {
		at := filepath.Join(podMachinesIn, name)
		out.Binds = append(out.Binds, api.Bind{Source: *path, Target: at, Writable: path == &n.TPMAuthority})
		*path = at
	}
	n.AccelFile = "/var/lib/holdfast/accel.json" // of the node's own QEMU
	out.Config, err = json.Marshal(n)
	return out, err
}
