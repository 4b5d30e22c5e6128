package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/atomicfile"
	"holdfast/internal/cluster/kubeapi"
	"holdfast/internal/cluster/pki"
	"holdfast/internal/input"
)

// A Status is how a cluster is now.
type Status struct {
	Name    string       `json:"name"`
	Created time.Time    `json:"created"`
	Ready   bool         `json:"ready"` // the API answers and all nodes are ready
	Server  string       `json:"server"`
	Host    string       `json:"host"`              // this machine's address, as nodes and pods have it
	Version string       `json:"version,omitempty"` // of Kubernetes, as the API says
	Context string       `json:"context"`
	Reason  string       `json:"reason,omitempty"` // why it is not ready
	Nodes   []NodeStatus `json:"nodes"`
	// Published are ports of this machine that lead to the first node.
	Published []Published `json:"published,omitempty"`
}

// A NodeStatus is how a node is now.
type NodeStatus struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Running bool   `json:"running"` // its machine
	Ready   bool   `json:"ready"`
	Reason  string `json:"reason,omitempty"`
}

// statusPatience is how long a status waits for the API.
const statusPatience = 10 * time.Second

// Status tells how the cluster called name is.
func (f *Fleet) Status(ctx context.Context, name string) (*Status, error) {
	s, err := f.load(name)
	if err != nil {
		return nil, err
	}
	st := &Status{Name: s.Name, Created: s.Created, Server: s.Server(), Host: s.Network.Gateway.String(), Context: contextName(s.Name), Ready: true, Published: s.Network.Published}
	for _, n := range s.Nodes {
		alive, err := f.Machines.Alive(n.Machine)
		if err != nil {
			return nil, err
		}
		one := NodeStatus{Name: n.Name, Address: n.Address.String(), Running: alive}
		if !alive {
			one.Reason, st.Ready, st.Reason = "its machine does not run", false, "not all machines run"
		}
		st.Nodes = append(st.Nodes, one)
	}
	if st.Nodes[0].Running {
		f.ask(ctx, s, st)
	}
	return st, nil
}

// ask fills in what the API says.
func (f *Fleet) ask(ctx context.Context, s *Spec, st *Status) {
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	refuse := func(err error) { st.Ready, st.Reason = false, err.Error() }
	client, err := f.reader(s)
	if err != nil {
		refuse(err)
		return
	}
	defer client.Close()
	var version struct {
		GitVersion string `json:"gitVersion"`
	}
	if err := client.Get(ctx, "/version", &version); err != nil {
		refuse(err)
		return
	}
	st.Version = version.GitVersion
	for i := range st.Nodes {
		n := &st.Nodes[i]
		if err := nodeReady(ctx, client, n.Name); err != nil {
			st.Ready = false
			if n.Running {
				n.Reason = err.Error()
			}
			continue
		}
		n.Ready = n.Running
	}
}

// nodeReady says why a node is not ready.
func nodeReady(ctx context.Context, client *kubeapi.Client, name string) error {
	var node struct {
		Status struct {
			Conditions []struct {
				Type, Status, Message string
			} `json:"conditions"`
		} `json:"status"`
	}
	if err := client.Get(ctx, "/api/v1/nodes/"+name, &node); err != nil {
		return err
	}
	for _, c := range node.Status.Conditions {
		if c.Type == "Ready" && c.Status == "True" {
			return nil
		}
		if c.Type == "Ready" {
			return errors.New(strings.TrimSpace(c.Message))
		}
	}
	return errors.New("its kubelet has not reported yet")
}

// List tells how all clusters are.
func (f *Fleet) List(ctx context.Context) ([]*Status, error) {
	names, err := f.names()
	if err != nil {
		return nil, err
	}
	all := make([]*Status, len(names))
	g, ctx := errgroup.WithContext(ctx)
	for i, name := range names {
		g.Go(func() (err error) {
			if all[i], err = f.Status(ctx, name); errors.Is(err, ErrNone) {
				return nil // deleted meanwhile, or a folder of something else
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(st *Status) bool { return st == nil }), nil
}

// Kubeconfig is one for the cluster's administrator.
func (f *Fleet) Kubeconfig(name string) ([]byte, error) {
	if _, err := f.load(name); err != nil {
		return nil, err
	}
	raw, err := input.ReadFile(f.kubeconfig(name), input.Document)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cluster %s: its create did not come so far", name)
	}
	return raw, err
}

// admin is a client with the administrator's certificate, which is made and
// kept with the cluster's kubeconfig.
func (f *Fleet) admin(s *Spec, keys pki.Keys) (*kubeapi.Client, error) {
	p, err := keys.Cluster.Issue(pki.Subject{Name: "holdfast:admin", Groups: []string{"holdfast:cluster-admins"}}, f.Now(), pki.LeafLife)
	if err != nil {
		return nil, err
	}
	doc, err := kubeconfig(contextName(s.Name), s.Server(), keys.Cluster.PEM, inline(p))
	if err != nil {
		return nil, err
	}
	if err := atomicfile.WriteFile(f.kubeconfig(s.Name), doc, 0o600); err != nil {
		return nil, err
	}
	return kubeapi.New(kubeapi.Config{URL: s.Server(), CA: keys.Cluster.PEM, Cert: p.Cert, Key: p.Key})
}

// reader is a client by the kubeconfig that is kept.
func (f *Fleet) reader(s *Spec) (*kubeapi.Client, error) {
	raw, err := f.Kubeconfig(s.Name)
	if err != nil {
		return nil, err
	}
	c, err := kubeapi.ParseKubeconfig(raw)
	if err != nil {
		return nil, err
	}
	return kubeapi.New(c)
}

// node finds a node by its name, the first when there is none.
func (s *Spec) node(name string) (Node, error) {
	if name == "" {
		return s.Control(), nil
	}
	for _, n := range s.Nodes {
		if n.Name == name {
			return n, nil
		}
	}
	return Node{}, fmt.Errorf("cluster %s has no node %.40q", s.Name, name)
}
