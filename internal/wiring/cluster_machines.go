package wiring

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/atomicfile"
	"holdfast/internal/cluster"
	"holdfast/internal/machine/container"
)

// machines are container machines, as clusters want them.
type machines struct {
	dir     string // of all clusters
	program string // holdfast-node
}

func (m machines) Check() error {
	if os.Geteuid() != 0 {
		return ErrNeedsRoot
	}
	if _, err := os.Stat(m.program); err != nil {
		return fmt.Errorf("process 1 of nodes is missing: %w", err)
	}
	return container.Check()
}

func (m machines) Taken() ([]netip.Prefix, error) { return container.Taken() }

// noted remembers that this host did not forward before there was a cluster.
func (m machines) noted() string { return filepath.Join(m.dir, ".forwarding-was-off") }

func (m machines) Connect(n cluster.Network) error {
	on, err := container.Forwarding()
	if err != nil {
		return err
	}
	if !on {
		if err := atomicfile.WriteFile(m.noted(), nil, 0o600); err != nil {
			return err
		}
	}
	err = network(n).Up()
	if errors.Is(err, container.ErrTaken) {
		err = fmt.Errorf("%w: %w", cluster.ErrTaken, err)
	}
	return err
}

func (m machines) Disconnect(n cluster.Network) error {
	if err := errors.Join(network(n).Down(), container.RemoveCgroups(n.ID, "")); err != nil {
		return err
	}
	others, err := container.Bridges()
	if err != nil || others > 0 {
		return err
	}
	if _, err := os.Stat(m.noted()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(container.StopForwarding(), os.Remove(m.noted()))
}

func network(n cluster.Network) container.Network {
	net := container.Network{ID: n.ID, Subnet: n.Subnet, MTU: n.MTU, Tree: n.Tree}
	for _, p := range n.Published {
		net.Ports = append(net.Ports, container.Port{Host: p.Host, Machine: netip.AddrPortFrom(n.First(), p.Port), Proto: p.Proto})
	}
	return net
}

func (m machines) PortFree(p cluster.Published) error { return container.PortFree(p.Proto, p.Host) }

func (m machines) Start(n cluster.Network, index int, log string, told api.ContainerMachine, begun func(cluster.Handle) error) error {
	return container.Start(container.Spec{Network: network(n), Index: index, Program: m.program, Log: log, Machine: told}, func(id container.Identity) error {
		raw, err := json.Marshal(id)
		if err != nil {
			return err
		}
		return begun(raw)
	})
}

// identity is the zero one for a machine that was never started.
func identity(h cluster.Handle) (id container.Identity, err error) {
	if len(h) == 0 {
		return id, nil
	}
	return id, json.Unmarshal(h, &id)
}

func (m machines) Alive(h cluster.Handle) (bool, error) {
	id, err := identity(h)
	if err != nil {
		return false, err
	}
	return id.Alive()
}

func (m machines) Stop(n cluster.Network, name string, h cluster.Handle, grace time.Duration) error {
	id, err := identity(h)
	if err != nil {
		return err
	}
	if err := id.Stop(grace); err != nil {
		return err
	}
	return container.RemoveCgroups(n.ID, name)
}
