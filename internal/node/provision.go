package node

import (
	"context"
	"errors"

	"holdfast/internal/api"
	"holdfast/internal/oci"
	"holdfast/internal/supervise"
)

// A Provision is what an Ignition config is applied with: the root is switched
// to, the network is there, and no module can be inserted any more.
type Provision struct {
	Ignition  []byte // as it was measured
	Digest    string // of the configuration that it is part of: sha256:…
	Config    api.GuestConfig
	Processes *supervise.Reaper
	Stage     func(name, text, digest string)
	Log       func(line string) // to the console
	// AtEnd is for what goes on beside the workload: it is called, before
	// anything else ends, when that has ended.
	AtEnd func(func())
}

func (m *machine) provision(ctx context.Context) (text, digest string, err error) {
	if m.Config.Provision == nil {
		return "", "", errors.New("the configuration has an Ignition config, and this machine image applies none")
	}
	p := Provision{Ignition: m.ignition, Digest: string(oci.SHA256(m.document)), Processes: m.processes, Stage: m.Stage,
		Log: func(line string) { m.line("%s", line) }, AtEnd: m.atEnd,
		Config: m.guest}
	text, err = m.Config.Provision(ctx, p)
	return text, string(oci.SHA256(m.ignition)), err
}
