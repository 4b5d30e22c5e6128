package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"holdfast/internal/cluster/pki"
)

// A Wish says what cluster somebody wants.
type Wish struct {
	Name  string
	Nodes int // 0: what it has, or one
	Extras
	Published []Published // replaces what it has; nil: as it is
	// Kubeconfig is the file that shall have its context; "" leaves all alone.
	Kubeconfig string
	// Wait is how long each part may take to be ready; Patience by default.
	Wait time.Duration
}

// A NodesError says that a cluster has another number of nodes.
type NodesError struct {
	Name      string
	Has, Want int
}

func (e *NodesError) Error() string {
	return fmt.Sprintf("cluster %s has %d nodes, not %d: delete it first", e.Name, e.Has, e.Want)
}

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
	s, err := f.begin(ctx, w)
	for tries := 3; errors.Is(err, ErrTaken) && !s.started() && tries > 0; tries-- {
		w.Nodes, w.Extras, w.Published = len(s.Nodes), s.Extras, s.Network.Published // some may be of an earlier wish
		if err = f.discard(s.Name); err == nil {
			s, err = f.begin(ctx, w)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := f.publish(s, w.Kubeconfig); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", s.Name, err)
	}
	return f.Status(ctx, s.Name)
}

// begin finds the cluster as it is wished for, or plans it, and brings it up.
func (f *Fleet) begin(ctx context.Context, w Wish) (*Spec, error) {
	s, err := f.load(w.Name)
	if errors.Is(err, ErrNone) {
		s, err = f.plan(ctx, w.Name, max(w.Nodes, 1), w.Extras)
	}
	if err != nil {
		return nil, err
	}
	if w.Nodes != 0 && w.Nodes != len(s.Nodes) {
		return nil, &NodesError{s.Name, len(s.Nodes), w.Nodes}
	}
	if err := s.Extras.cover(w.Extras); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", s.Name, err)
	}
	if w.Published != nil {
		if err := f.republish(s, w.Published); err != nil {
			return nil, fmt.Errorf("cluster %s: %w", s.Name, err)
		}
	}
	s.patience = w.Wait
	if err := f.bringUp(ctx, s); err != nil {
		return s, fmt.Errorf("cluster %s: %w", s.Name, err)
	}
	return s, nil
}

// started says whether a node may have data.
func (s *Spec) started() bool {
	return s.Ready || slices.ContainsFunc(s.Nodes, func(n Node) bool { return n.Machine != nil })
}

// bringUp makes all nodes run and be ready.
func (f *Fleet) bringUp(ctx context.Context, s *Spec) error {
	down, err := f.down(s)
	if err != nil {
		return err
	}
	keys, err := pki.Open(f.pkiDir(s.Name), f.Now())
	if err != nil {
		return err
	}
	c, err := f.Components(ctx, s.Extras)
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
