package wiring

import (
	"errors"
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
