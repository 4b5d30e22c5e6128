package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/api"
	"holdfast/internal/cluster/kubeapi"
	"holdfast/internal/progress"
)

// A Wish says what cluster somebody wants.
type Wish struct {
	Name  string
	Nodes int // 0: what it has, or one
	// Confidential asks for nodes that run confidential pods.
	Confidential bool
	// Kubeconfig is the file that shall have its context; "" leaves all alone.
	Kubeconfig string
}

// A NodesError says that a cluster has another number of nodes.
type NodesError struct {
	Name      string
	Has, Want int
}

func (e *NodesError) Error() string {
	return fmt.Sprintf("cluster %s has %d nodes, not %d: delete it first", e.Name, e.Has, e.Want)
}

// How long the parts of a create may take.
const (
	apiPatience  = 2 * time.Minute
	nodePatience = 2 * time.Minute
	pollEvery    = 100 * time.Millisecond
)

// Create makes the cluster, or finds it, or finishes what an earlier create
// began, or starts its nodes again with the data that they had.
func (f *Fleet) Create(ctx context.Context, w Wish) (_ *Status, err error) {
	if w.Nodes < 0 || w.Nodes > MaxNodes {
		return nil, fmt.Errorf("%d nodes: want 1 to %d", w.Nodes, MaxNodes)
	}
	release, err := f.claim(w.Name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := f.Machines.Check(); err != nil {
		return nil, err
	}
	s, err := f.load(w.Name)
	if errors.Is(err, ErrNone) {
		s, err = f.plan(ctx, w.Name, max(w.Nodes, 1), w.Confidential)
	}
	if err != nil {
		return nil, err
	}
	if w.Nodes != 0 && w.Nodes != len(s.Nodes) {
		return nil, &NodesError{s.Name, len(s.Nodes), w.Nodes}
	}
	if w.Confidential && !s.Confidential {
		return nil, fmt.Errorf("cluster %s: %w", s.Name, ErrPlain)
	}
	if err := f.bringUp(ctx, s); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", s.Name, err)
	}
	if err := f.publish(s, w.Kubeconfig); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", s.Name, err)
	}
	return f.Status(ctx, s.Name)
}

// bringUp makes all nodes run and be ready.
func (f *Fleet) bringUp(ctx context.Context, s *Spec) error {
	down, err := f.down(s)
	if err != nil {
		return err
	}
	keys, err := openPKI(f.pkiDir(s.Name), f.Now())
	if err != nil {
		return err
	}
	c, err := f.Components(ctx, s.Confidential)
	if err != nil {
		return err
	}
	s.Network.Tree = c.Tree
	if err := f.save(s); err != nil {
		return err
	}
	if err := f.Machines.Connect(s.Network); err != nil {
		return err
	}
	if err := f.startAll(ctx, s, down, keys, c); err != nil {
		return err
	}
	if err := f.bootstrap(ctx, s, keys, c); err != nil {
		return err
	}
	if err := f.awaitReady(ctx, s, keys); err != nil {
		return err
	}
	s.Ready = true
	return f.save(s)
}

// down lists the indexes of nodes that do not run.
func (f *Fleet) down(s *Spec) ([]int, error) {
	var down []int
	for i, n := range s.Nodes {
		alive, err := f.Machines.Alive(n.Machine)
		if err != nil {
			return nil, err
		}
		if !alive {
			down = append(down, i)
		}
	}
	return down, nil
}

// startAll starts the nodes that are down, with programs of this build: those
// that run keep theirs.
func (f *Fleet) startAll(ctx context.Context, s *Spec, down []int, keys pki, c *Components) error {
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
func (f *Fleet) start(s *Spec, i int, keys pki, c *Components) error {
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
		Link:     api.ContainerLink{Address: netipPrefix(n.Address, s.Network.Subnet), Gateway: s.Network.Gateway},
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
	for _, other := range s.Nodes {
		m.Hosts = append(m.Hosts, api.Host{Name: other.Name, Address: other.Address})
		if other.Index != n.Index {
			m.Link.Routes = append(m.Link.Routes, api.Route{To: other.Pods, Via: other.Address})
		}
	}
	return m, nil
}

// bootstrap waits for the API and gives it what a cluster needs from the start.
func (f *Fleet) bootstrap(ctx context.Context, s *Spec, keys pki, c *Components) error {
	// A certificate of the group that no rule binds is never written down.
	super, err := keys.cluster.issue(subject{name: "holdfast:bootstrap", groups: []string{"system:masters"}}, f.Now(), superLife)
	if err != nil {
		return err
	}
	client, err := kubeapi.New(kubeapi.Config{URL: s.Server(), CA: keys.cluster.pem, Cert: super.cert, Key: super.key})
	if err != nil {
		return err
	}
	defer client.Close()
	if err := f.step("wait for the API server", func() error {
		return f.await(ctx, s, apiPatience, s.Nodes[:1], client.Ready)
	}); err != nil {
		return err
	}
	with := f.facts(s, s.Control(), c)
	if err := with.metrics(keys, f.Now()); err != nil {
		return err
	}
	return f.step("give the cluster its rights, its DNS and its metrics", func() error {
		names := []string{"bootstrap", "agent", "dns", "metrics"}
		if s.Confidential {
			names = append(names, "confidential")
		}
		for _, name := range names {
			manifest, err := fill("manifests/"+name+".yaml", with)
			if err != nil {
				return err
			}
			if err := client.Apply(ctx, manifest); err != nil {
				return err
			}
		}
		return nil
	})
}

func (f *Fleet) step(name string, do func() error) error {
	step := f.Progress.Start(name, 0, progress.None)
	if err := do(); err != nil {
		step.Fail()
		return err
	}
	step.Done("")
	return nil
}

// await asks until what it asks about holds. A node whose machine ends meanwhile
// ends it.
func (f *Fleet) await(ctx context.Context, s *Spec, patience time.Duration, nodes []Node, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	for {
		once, done := context.WithTimeout(ctx, 5*time.Second)
		err := ask(once)
		done()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		for _, n := range nodes {
			if alive, err := f.Machines.Alive(n.Machine); err != nil || !alive {
				return errors.Join(fmt.Errorf("node %s ended; its log is %s", n.Name, filepath.Join(f.nodeDir(s.Name, n.Name), "machine.log")), err)
			}
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("not after %v: %w", patience, last)
			}
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}

// firstAccount is what a pod of somebody who says nothing runs as. The
// controller-manager makes it when it has come so far.
const firstAccount = "/api/v1/namespaces/default/serviceaccounts/default"

// awaitReady waits until all nodes are ready and pods can be made.
func (f *Fleet) awaitReady(ctx context.Context, s *Spec, keys pki) error {
	client, err := f.admin(s, keys)
	if err != nil {
		return err
	}
	defer client.Close()
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range s.Nodes {
		g.Go(func() error {
			return f.step("wait for node "+n.Name+" to be ready", func() error {
				return f.await(ctx, s, nodePatience, []Node{n}, func(ctx context.Context) error { return nodeReady(ctx, client, n.Name) })
			})
		})
	}
	g.Go(func() error {
		return f.step("wait for the first service account", func() error {
			return f.await(ctx, s, nodePatience, s.Nodes[:1], func(ctx context.Context) error { return client.Get(ctx, firstAccount, nil) })
		})
	})
	g.Go(func() error {
		return f.step("wait for the cluster's DNS", func() error {
			return f.await(ctx, s, nodePatience, s.Nodes[:1], func(ctx context.Context) error { return dnsAnswers(ctx, client) })
		})
	})
	return g.Wait()
}

// dnsAnswers says why no pod of the cluster's DNS is ready.
func dnsAnswers(ctx context.Context, client *kubeapi.Client) error {
	var d struct {
		Status struct {
			Available int `json:"availableReplicas"`
		} `json:"status"`
	}
	if err := client.Get(ctx, "/apis/apps/v1/namespaces/kube-system/deployments/coredns", &d); err != nil {
		return err
	}
	if d.Status.Available == 0 {
		return errors.New("no pod of the cluster's DNS is ready")
	}
	return nil
}

// publish writes the cluster's kubeconfig, and merges it into the one that
// somebody named.
func (f *Fleet) publish(s *Spec, into string) error {
	own, err := os.ReadFile(f.kubeconfig(s.Name))
	if err != nil || into == "" {
		return err
	}
	if err := edit(into, func(old []byte) ([]byte, error) { return merge(old, own) }); err != nil {
		return err
	}
	for _, known := range s.Kubeconfigs {
		if known == into {
			return nil
		}
	}
	s.Kubeconfigs = append(s.Kubeconfigs, into)
	return f.save(s)
}
