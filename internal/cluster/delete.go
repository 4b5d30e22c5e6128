package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// stopGrace is how long a node's services may take to end.
const stopGrace = 10 * time.Second

// Delete ends the cluster and removes all of it, its data too. What is missing is
// no error: it also cleans up behind a create or delete that was killed.
func (f *Fleet) Delete(ctx context.Context, name string) (err error) {
	release, err := f.claim(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	s, err := f.load(name)
	if errors.Is(err, ErrNone) {
		_ = os.Remove(f.dir(name)) // empty: of a create that was killed at once
	}
	if err != nil {
		return err
	}
	for _, n := range s.Nodes {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := f.step("stop node "+n.Name, func() error { return f.Machines.Stop(s.Network, n.Name, n.Machine, 0) })
		if err != nil {
			return fmt.Errorf("cluster %s: node %s: %w", name, n.Name, err)
		}
	}
	if err := f.Machines.Disconnect(s.Network); err != nil {
		return fmt.Errorf("cluster %s: %w", name, err)
	}
	var problems []error
	for _, path := range s.Kubeconfigs {
		if _, err := os.Stat(path); err == nil {
			problems = append(problems, edit(path, func(old []byte) ([]byte, error) { return unmerge(old, contextName(name)) }))
		}
	}
	return errors.Join(append(problems, f.discard(name))...)
}

// gone begins the names of folders that are being removed.
const gone = ".gone-"

// discard removes the cluster's folder. It loses its name first, so that no later
// cluster finds half of it.
func (f *Fleet) discard(name string) error {
	if err := os.Rename(f.dir(name), filepath.Join(f.Dir, gone+rand.Text())); err != nil {
		return err
	}
	left, err := filepath.Glob(filepath.Join(f.Dir, gone+"*")) // also of a delete that was killed
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// Stop ends the cluster's nodes, and keeps their data for the next create.
func (f *Fleet) Stop(ctx context.Context, name string) (err error) {
	release, err := f.claim(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	s, err := f.load(name)
	if err != nil {
		return err
	}
	for _, n := range s.Nodes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.step("stop node "+n.Name, func() error { return f.Machines.Stop(s.Network, n.Name, n.Machine, stopGrace) }); err != nil {
			return fmt.Errorf("cluster %s: node %s: %w", name, n.Name, err)
		}
	}
	return f.Machines.Disconnect(s.Network)
}
