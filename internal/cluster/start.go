package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path"
	"path/filepath"

	"holdfast/internal/api"
	"holdfast/internal/cluster/pki"
	"holdfast/internal/progress"
)

// startAll starts the nodes that are down, with programs of this build: those
// that run keep theirs.
func (f *Fleet) startAll(ctx context.Context, s *Spec, down []int, keys pki.Keys, c *Components) error {
	if len(down) == len(s.Nodes) {
		if err := f.keepPrograms(s.Name, c); err != nil {
			return fmt.Errorf("keep programs: %w", err)
		}
	}
	for _, i := range down {
		if err := ctx.Err(); err != nil {
			return err
		}
		step := f.Progress.Start("start node "+s.Nodes[i].Name, 0, progress.None)
		if err := f.start(s, i, keys, c); err != nil {
			step.Fail()
			return fmt.Errorf("node %s: %w", s.Nodes[i].Name, err)
		}
		step.Done(s.Nodes[i].Address.String())
	}
	return nil
}

// start starts one node. Who it is is kept before anything is made for it.
func (f *Fleet) start(s *Spec, i int, keys pki.Keys, c *Components) error {
	n := s.Nodes[i]
	if err := f.Machines.Stop(s.Network, n.Name, n.Machine, 0); err != nil { // what a killed one left
		return err
	}
	dir := f.nodeDir(s.Name, n.Name)
	for _, part := range []string{"etc", "var", "root"} {
		if err := os.MkdirAll(filepath.Join(dir, part), 0o755); err != nil {
			return err
		}
	}
	content, err := f.nodeFiles(s, n, keys, c)
	if err != nil {
		return err
	}
	if err := content.write(filepath.Join(dir, "etc")); err != nil {
		return err
	}
	m, err := f.machine(s, n, c)
	if err != nil {
		return err
	}
	return f.Machines.Start(s.Network, n.Index, filepath.Join(dir, "machine.log"), m, func(h Handle) error {
		s.Nodes[i].Machine = h
		return f.save(s)
	})
}

// machine is what process 1 of a node is told.
func (f *Fleet) machine(s *Spec, n Node, c *Components) (m api.ContainerMachine, err error) {
	images, err := imagesIn(filepath.Join(f.programs(s.Name), "images"))
	if err != nil {
		return m, err
	}
	dir, programs := f.nodeDir(s.Name, n.Name), f.programs(s.Name)
	m = api.ContainerMachine{
		Hostname: n.Name, Tree: c.Tree, Mount: filepath.Join(dir, "root"), Resolvers: f.Resolvers,
		Binds: []api.Bind{
			{Source: filepath.Join(dir, "var"), Target: "/var", Writable: true},
			{Source: filepath.Join(dir, "etc"), Target: etc},
			{Source: filepath.Join(programs, "bin"), Target: "/opt/holdfast/bin"},
			{Source: filepath.Join(programs, "cni"), Target: "/opt/cni/bin"},
			{Source: filepath.Join(programs, "images"), Target: "/opt/holdfast/images"},
		},
		Link:     api.ContainerLink{Address: netip.PrefixFrom(n.Address, s.Network.Subnet.Bits()), Gateway: s.Network.Gateway},
		Services: s.services(n, c, images),
	}
	if c.Pods != nil {
		m.Binds = append(m.Binds, c.Pods.Binds...)
	}
	if f.Registry.Socket != "" {
		if err := os.MkdirAll(filepath.Dir(f.Registry.Socket), 0o700); err != nil {
			return m, err
		}
		m.Binds = append(m.Binds, api.Bind{Source: filepath.Dir(f.Registry.Socket), Target: "/run/host-registry"})
		m.Relays = []api.Relay{{Port: f.Registry.Port, Socket: "/run/host-registry/" + filepath.Base(f.Registry.Socket)}}
	}
	if n.Index == 1 {
		if err := f.renewable(s, &m); err != nil {
			return m, err
		}
	}
	for _, other := range s.Nodes {
		m.Hosts = append(m.Hosts, api.Host{Name: other.Name, Address: other.Address})
		if other.Index != n.Index {
			m.Link.Routes = append(m.Link.Routes, api.Route{To: other.Pods, Via: other.Address})
		}
	}
	return m, nil
}

// renewable gives the first node what it renews: the certificates of all nodes, and the
// keys that sign them.
func (f *Fleet) renewable(s *Spec, m *api.ContainerMachine) error {
	m.Binds = append(m.Binds, api.Bind{Source: f.pkiDir(s.Name), Target: authoritiesIn})
	for _, n := range s.Nodes {
		dir := filepath.Join(f.nodeDir(s.Name, n.Name), "etc", "pki")
		if err := os.MkdirAll(dir, 0o700); err != nil { // a node that has not started yet
			return err
		}
		m.Binds = append(m.Binds, api.Bind{Source: dir, Target: path.Join(certificatesIn, n.Name), Writable: true})
	}
	return nil
}
