package cluster

import (
	"fmt"
	"net/netip"
)

// A Published port is one of this machine that leads to the first node: to what
// a Service of type NodePort, or a pod with a hostPort, has there.
type Published struct {
	Host  netip.AddrPort `json:"host"`  // 0.0.0.0: any address of this machine
	Port  uint16         `json:"port"`  // of the node
	Proto string         `json:"proto"` // "tcp" or "udp"
}

func (p Published) String() string { return fmt.Sprintf("%s -> %d/%s", p.Host, p.Port, p.Proto) }

// meets says whether both want the same port of this machine.
func (p Published) meets(q Published) bool {
	if p.Proto != q.Proto || p.Host.Port() != q.Host.Port() {
		return false
	}
	return p.Host.Addr() == q.Host.Addr() || p.Host.Addr().IsUnspecified() || q.Host.Addr().IsUnspecified()
}

// republish replaces the cluster's ports, when no other cluster and no program has them.
func (f *Fleet) republish(s *Spec, want []Published) error {
	for i, p := range want {
		for _, q := range want[:i] {
			if p.meets(q) {
				return fmt.Errorf("publish %s: %s is published, too", p, q)
			}
		}
	}
	names, err := f.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		other, err := f.load(name)
		if err != nil || name == s.Name {
			continue // being deleted, or ours
		}
		for _, p := range want {
			for _, q := range other.Network.Published {
				if p.meets(q) {
					return fmt.Errorf("publish %s: cluster %s has %s", p, name, q)
				}
			}
		}
	}
	for _, p := range want {
		if err := f.Machines.PortFree(p); err != nil {
			return fmt.Errorf("publish %s: %w", p, err)
		}
	}
	s.Network.Published = want
	return nil
}
