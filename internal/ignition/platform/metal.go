package platform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/volume"
)

// metalWait is how long a stick may take to be found by the kernel.
const metalWait = 5 * time.Second

// Where metal looks: on a volume labelled ignition, and in the EFI system
// partition, where whoever installed the machine leaves it.
const (
	stickLabel = "ignition"
	stickFile  = "config.ign"
	espFile    = "ignition/config.ign"
)

// metal looks at once and then for a few seconds more. Two configs are one too
// many: neither counts more than the other. (The URL ignition.config.url of the
// kernel's command line comes before all platforms.)
func metal(ctx context.Context, c Config, _ ignition.Ask) (ignition.Provided, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, metalWait, fs.ErrNotExist)
	defer cancel()
	var configs []ignition.Provided
	holds := func(v volume.Volume) bool {
		name := stickFile
		switch {
		case labelled(stickLabel)(v):
		case v.ESP:
			name = espFile
		default:
			return false
		}
		p, err := read(v, name)
		if err != nil {
			c.Log.Warn("a volume cannot be read", "device", v.Device, "because", err)
		}
		if len(p.Raw) > 0 {
			configs = append(configs, p)
		}
		return len(p.Raw) > 0
	}
	found, err := c.await(ctx, holds)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.Log.Info("no config in an EFI system partition or on a volume labelled "+stickLabel, "waited", metalWait)
		return ignition.Provided{}, nil
	case err != nil:
		return ignition.Provided{}, err
	case len(found) > 1:
		return ignition.Provided{}, fmt.Errorf("configs on both %s and %s: want one", found[0].Device, found[1].Device)
	}
	return configs[0], nil
}
