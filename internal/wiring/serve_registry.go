package wiring

import (
	"errors"
	"fmt"
	"time"

	"holdfast/internal/registry"
)

// RegistryLimits bound what the registry takes, and takes on trust.
type RegistryLimits struct {
	Quota   registry.Quota
	Expiry  time.Duration // of uploads that nobody goes on with; 24 hours when 0
	Recheck time.Duration // after which a blob is hashed again before it is given out; see registry.Config
}

func (l RegistryLimits) apply(c *registry.Config) {
	c.Quota, c.Expiry, c.Recheck = l.Quota, l.Expiry, l.Recheck
}

// startRegistry starts the registry, and what finds and judges its images.
func (s *Services) startRegistry(i Installation, c ServeConfig, config registry.Config) error {
	keeper, err := s.join(i, c, &config)
	if err != nil {
		return err
	}
	m := newMetrics(config.Dir, s.swarm)
	config.Observer = m
	reg, err := registry.New(config)
	if err != nil {
		return fmt.Errorf("open registry: %w", err)
	}
	s.ends = append(s.ends, reg.Close)
	s.rotten.Store(reg)
	if err := s.controlRegistry(reg, config); err != nil {
		return err
	}
	if err := s.controlSwarm(i); err != nil {
		return err
	}
	front := s.newFront(c, config, s.holding(keeper.handler(reg)), m)
	if s.registry, err = s.serve(i, "registry", c.RegistryListen, front, c.TLS, keeper.certificate()); err != nil || c.RegistryDir != "" {
		return err
	}
	return s.serveNodes(i, front)
}

// join has the registry ask those that decide about it, and those that have
// what it lacks.
func (s *Services) join(i Installation, c ServeConfig, config *registry.Config) (*gatekeeper, error) {
	c.RegistryLimits.apply(config)
	keeper, err := s.joinAccess(i, c, config)
	if err == nil {
		err = s.openBlobs(i, c, config)
	}
	if err == nil {
		err = s.joinSwarm(i, c, config)
	}
	if err == nil {
		err = s.joinUpstreams(c, config)
	}
	if err == nil {
		config.Gate, err = c.Policy.gate(c.RegistryListen, c.Log)
	}
	return keeper, err
}

// controlRegistry lets other processes of this user ask the registry to keep
// its folder in order.
func (s *Services) controlRegistry(reg *registry.Registry, c registry.Config) error {
	if c.ReadOnly {
		return nil
	}
	stop, err := reg.ServeControl()
	if err == nil {
		s.ends = append(s.ends, stop)
	}
	return err
}

// KeepBlobs gives what keeps the registry's blobs in order: the process that
// serves them, or the folder itself when none does.
func (i Installation) KeepBlobs(do func(registry.Keeper) error) error {
	remote, err := registry.Served(i.Registry())
	if err == nil {
		return do(remote)
	}
	if !errors.Is(err, registry.ErrNotServed) {
		return err
	}
	own, err := registry.New(registry.Config{Dir: i.Registry()})
	if err != nil {
		return err
	}
	return errors.Join(do(own), own.Close())
}
