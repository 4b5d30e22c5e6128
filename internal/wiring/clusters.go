package wiring

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/internal/cluster"
	"holdfast/internal/cluster/components"
	"holdfast/internal/machine/container"
)

// ClusterConfig says what clusters are made of.
type ClusterConfig struct {
	Builder Builder
	Images  string // folder of the recipes node, pause and coredns
	Source  string // folder kube of the same checkout
	// ResolvConf is the machine's resolv.conf(5); by default /etc/resolv.conf.
	ResolvConf string
}

// Clusters are those of the installation.
func (i Installation) Clusters(c ClusterConfig) (*cluster.Fleet, error) {
	resolvers, err := hostResolvers(or(c.ResolvConf, "/etc/resolv.conf"))
	if err != nil {
		return nil, err
	}
	mtu, err := container.OutsideMTU()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(i.dir, "clusters")
	return cluster.New(cluster.Config{
		Dir: dir, Machines: machines{dir: dir, program: c.Builder.Node}, Progress: c.Builder.Progress,
		Components: func(ctx context.Context, x cluster.Extras) (*cluster.Components, error) {
			return c.components(ctx, i, x)
		},
		Registry:  cluster.Registry{Names: []string{"127.0.0.1:5000", "localhost:5000"}, Port: 5000, Socket: i.registrySocket()},
		Resolvers: resolvers, MTU: mtu, Restricted: !mayRaise(),
	})
}

// registrySocket is where serve answers containers of this machine. It is alone
// in its folder, which nodes see.
func (i Installation) registrySocket() string {
	return filepath.Join(i.dir, "sockets", "registry.sock")
}

// components builds, or finds, all that nodes run.
func (c ClusterConfig) components(ctx context.Context, i Installation, x cluster.Extras) (*cluster.Components, error) {
	parts, node := []string{"kube", "containerd", "cni"}, "node"
	if x.Confidential {
		parts, node = append(parts, "shim"), "node-confidential"
	}
	if x.GVisor {
		parts = append(parts, "gvisor")
	}
	set, err := components.Build(ctx, components.Config{Source: c.Source, Dir: filepath.Join(i.dir, "kube"), Only: parts, Progress: c.Builder.Progress})
	if err != nil {
		return nil, err
	}
	out := &cluster.Components{Files: map[string]string{}}
	for _, p := range set {
		switch p.Module {
		case "kube", "containerd", "shim", "gvisor":
			out.Files["bin/"+p.Name] = p.Path
		case "cni":
			out.Files["cni/"+p.Name] = p.Path
		}
		if p.Module == "kube" {
			out.Version = p.Version
		}
	}
	for name, to := range map[string]*string{"pause": &out.Pause, "coredns": &out.CoreDNS, "metrics-server": &out.Metrics} {
		archive, err := c.Builder.nodeImage(ctx, filepath.Join(c.Images, name))
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", name, err)
		}
		out.Files["images/"+name+".tar"], *to = archive.path, archive.name
	}
	if out.Tree, err = c.Builder.nodeTree(ctx, filepath.Join(c.Images, node)); err == nil && x.Confidential {
		out.Pods, err = c.podMachines(ctx)
	}
	return out, err
}

// systemdResolv has the name servers behind systemd's own, which listens on
// loopback (systemd-resolved.service(8)).
const systemdResolv = "/run/systemd/resolve/resolv.conf"

// A ResolverError says that nodes cannot ask what this machine asks.
type ResolverError struct{ Path, Server string }

func (e *ResolverError) Error() string {
	return fmt.Sprintf("%s: name server %s is on this machine's loopback, which nodes do not reach", e.Path, e.Server)
}

// hostResolvers are the name servers of this machine.
func hostResolvers(path string) ([]netip.Addr, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	all := parseResolvers(raw)
	for _, a := range all {
		if !a.IsLoopback() {
			continue
		}
		if _, err = os.ReadFile(systemdResolv); err == nil && path != systemdResolv {
			return hostResolvers(systemdResolv)
		}
		return nil, &ResolverError{path, a.String()}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: it names no name server", path)
	}
	return all, nil
}

func parseResolvers(raw []byte) (all []netip.Addr) {
	s := bufio.NewScanner(bytes.NewReader(raw))
	for s.Scan() {
		f := strings.Fields(s.Text())
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil && a.Is4() { // nodes have no IPv6
			all = append(all, a)
		}
	}
	return all
}

// mayRaise says whether this process has CAP_SYS_RESOURCE, without which
// nobody is protected from being killed for want of memory.
func mayRaise() bool {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if err := unix.Capget(&h, &d[0]); err != nil {
		return false
	}
	return d[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

// ErrNeedsRoot says that clusters are root's.
var ErrNeedsRoot = errors.New("nodes are namespaces of this machine, and only root makes these")
