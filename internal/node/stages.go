package node

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/api"
	"holdfast/internal/oci"
)

// A stage either completes, with a few words and the digest it was about, or
// ends the machine.
type stage struct {
	name string
	run  func(ctx context.Context) (text, digest string, err error)
}

// complete runs a stage and says so.
func (m *machine) complete(ctx context.Context, s stage) error {
	text, digest, err := s.run(ctx)
	if err != nil {
		return &Refusal{s.name, err}
	}
	m.Stage(s.name, text, digest)
	return nil
}

// begin is what everything else stands on.
func (m *machine) begin() error {
	for _, s := range []stage{{"mounts", m.mounts}, {"modules", m.modules}} {
		if err := m.complete(context.Background(), s); err != nil {
			return err
		}
	}
	return m.control.open(portsDir)
}

// prepare runs at once what does not depend on each other, and then changes
// to the root.
func (m *machine) prepare(ctx context.Context) error {
	group, within := errgroup.WithContext(ctx)
	for _, s := range []stage{{"root", m.root}, {"config", m.config}, {"keys", m.keys}} {
		group.Go(func() error { return safely(func() error { return m.complete(within, s) }) })
	}
	// The lease is kept beyond this stage, so it has the machine's context.
	group.Go(func() error { return safely(func() error { return m.complete(ctx, stage{"network", m.network}) }) })
	if err := group.Wait(); err != nil {
		return err
	}
	if m.ignition == nil {
		if err := m.closeDevices(ctx); err != nil {
			return &Refusal{"root", err}
		}
	}
	if err := switchRoot(); err != nil {
		return &Refusal{"root", err}
	}
	if err := m.describe(api.MachineDir); err != nil {
		return &Refusal{"config", err}
	}
	if err := m.identify(ctx); err != nil {
		return err
	}
	if m.ignition == nil {
		return nil
	}
	return m.complete(ctx, stage{"provision", m.provision})
}

func (m *machine) mounts(context.Context) (text, digest string, err error) {
	return "kernel file systems mounted", "", mountKernel()
}

func (m *machine) modules(context.Context) (text, digest string, err error) {
	n, err := insertModules()
	if err == nil {
		err = compressMemory()
	}
	if err == nil {
		err = sealKernel(sysctlDir)
	}
	return fmt.Sprintf("%d modules inserted, and no more from now on", n), "", err
}

func (m *machine) root(ctx context.Context) (text, digest string, err error) {
	hash, disk, err := mountRoot(ctx)
	m.disk = disk
	return "verity root mounted", hash, err
}

func (m *machine) network(ctx context.Context) (text, digest string, err error) {
	m.link, text, err = bringUp(ctx, &m.background)
	return text, "", err
}

func (m *machine) config(ctx context.Context) (text, digest string, err error) {
	m.configuration, err = configure(ctx, m.Measurer, fwcfgDir)
	if err != nil {
		return "", "", err // of a refused configuration nothing is used
	}
	m.control.allow(m.guest.Control)
	if m.guest.Pod != nil {
		m.control.allow(api.PodCalls)
	}
	return "configuration measured into PCR 8", string(oci.SHA256(m.document)), nil
}

func (m *machine) keys(ctx context.Context) (text, digest string, err error) {
	return "keys made ahead", "", m.Prepare(ctx)
}
