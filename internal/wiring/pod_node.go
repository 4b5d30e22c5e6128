package wiring

import (
	"context"

	"holdfast/internal/swtpm"
	"holdfast/internal/wiring/pod"
)

// PodNode says how pods' machines are run from this installation: what a shim on this
// host is configured with. The machine image is composed when it is absent.
func (b Builder) PodNode(ctx context.Context, guest string) (n pod.Node, err error) {
	if err := swtpm.Installed(); err != nil {
		return n, err
	}
	ring, err := b.Installation.Ring(ctx)
	if err != nil {
		return n, err
	}
	firmware, err := b.Installation.Firmware(ring)
	if err != nil {
		return n, err
	}
	m, err := b.Guest(ctx, guest, ring)
	if err != nil {
		return n, err
	}
	n = pod.Node{
		Disk: m.DiskPath(), Code: firmware.Code, Vars: firmware.Vars,
		TPMAuthority: b.Installation.TPMAuthority(), AccelFile: b.Installation.accelFile(),
	}
	return n, n.Check()
}
