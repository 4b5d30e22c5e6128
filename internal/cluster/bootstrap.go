package cluster

import (
	"cmp"
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/cluster/kubeapi"
	"holdfast/internal/cluster/pki"
)

// bootstrapLife is that of the certificate which may do everything.
const bootstrapLife = time.Hour

// bootstrap waits for the API and gives it what a cluster needs from the start.
func (f *Fleet) bootstrap(ctx context.Context, s *Spec, keys pki.Keys, c *Components) error {
	// A certificate of the group that no rule binds is never written down.
	super, err := keys.Cluster.Issue(pki.Subject{Name: "holdfast:bootstrap", Groups: []string{"system:masters"}}, f.Now(), bootstrapLife)
	if err != nil {
		return err
	}
	client, err := kubeapi.New(kubeapi.Config{URL: s.Server(), CA: keys.Cluster.PEM, Cert: super.Cert, Key: super.Key})
	if err != nil {
		return err
	}
	defer client.Close()
	if err := f.step("wait for the API server", func() error {
		return f.await(ctx, s, s.Nodes[:1], client.Ready)
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
		if s.GVisor {
			names = append(names, "gvisor")
		}
		for _, name := range names {
			manifest, err := fill("manifests/"+name+".yaml", with)
			if err != nil {
				return err
			}
			if err := client.Apply(manifest, func(ask kubeapi.Ask) error { return f.insist(ctx, s, s.Nodes[:1], ask) }); err != nil {
				return err
			}
		}
		return nil
	})
}

// insist is await of what a server that has just begun may turn away for a
// moment, unless it says that what it is asked for is wrong.
func (f *Fleet) insist(ctx context.Context, s *Spec, nodes []Node, ask kubeapi.Ask) error {
	var wrong error
	err := f.await(ctx, s, nodes, func(ctx context.Context) error {
		err := ask(ctx)
		if kubeapi.IsWrong(err) {
			wrong, err = err, nil
		}
		return err
	})
	return cmp.Or(err, wrong)
}

// firstAccount is what a pod of somebody who says nothing runs as. The
// controller-manager makes it when it has come so far.
const firstAccount = "/api/v1/namespaces/default/serviceaccounts/default"

// awaitReady waits until all nodes are ready and pods can be made.
func (f *Fleet) awaitReady(ctx context.Context, s *Spec, keys pki.Keys) error {
	client, err := f.admin(s, keys)
	if err != nil {
		return err
	}
	defer client.Close()
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range s.Nodes {
		g.Go(func() error {
			return f.step("wait for node "+n.Name+" to be ready", func() error {
				return f.await(ctx, s, []Node{n}, func(ctx context.Context) error { return nodeReady(ctx, client, n.Name) })
			})
		})
	}
	g.Go(func() error {
		return f.step("wait for the first service account", func() error {
			return f.await(ctx, s, s.Nodes[:1], func(ctx context.Context) error { return client.Get(ctx, firstAccount, nil) })
		})
	})
	g.Go(func() error {
		return f.step("wait for the cluster's DNS", func() error {
			return f.await(ctx, s, s.Nodes[:1], func(ctx context.Context) error { return dnsAnswers(ctx, client) })
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
