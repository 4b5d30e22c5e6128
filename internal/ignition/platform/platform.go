// Package platform knows where machines of each kind find their config.
//
// A platform is a file here and a name in All. It asks no service twice in the
// hope of a weaker answer: what is not served is an error, and an empty config
// is one only where the platform says that there is none.
package platform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/fetch"
	"holdfast/internal/ignition/spec"
	"holdfast/internal/ignition/volume"
)

// Config is what platforms read from.
type Config struct {
	// File is where the platform file has its config; the default is config.ign
	// in the working folder.
	File string
	// CommandLine is the kernel's, Serial that of the machine in SMBIOS.
	CommandLine, Serial string
	// Volumes are those of the kernel when nil.
	Volumes func() ([]volume.Volume, error)
	// FwCfg stands in for QEMU's firmware folder, Metadata for the base URL of a
	// cloud's metadata service.
	FwCfg, Metadata string
	// Wait sleeps between looks at what may still appear; nil for real time.
	Wait func(ctx context.Context, d time.Duration) error
	Log  *slog.Logger
}

// A Provider gets a platform's config, or ignition.ErrNoConfig.
type Provider func(ctx context.Context, c Config, ask ignition.Ask) (ignition.Provided, error)

// All of them by name.
var All = map[string]Provider{
	"aws":       aws,
	"azure":     azure,
	"brightbox": openstack, // as upstream has it
	"file":      file,
	"gcp":       gcp,
	"metal":     metal,
	"nocloud":   nocloud,
	"openstack": openstack,
	"qemu":      qemu,
}

// Find is the provider of a name.
func Find(name string) (Provider, error) {
	p, ok := All[name]
	if !ok {
		return nil, fmt.Errorf("platform %.40q is unknown: want one of %s", name, strings.Join(slices.Sorted(maps.Keys(All)), ", "))
	}
	return func(ctx context.Context, c Config, ask ignition.Ask) (ignition.Provided, error) {
		return p(ctx, c.complete(), ask)
	}, nil
}

// linkLocal is where most clouds have their metadata service.
const linkLocal = "http://169.254.169.254"

func (c Config) complete() Config {
	if c.Volumes == nil {
		c.Volumes = volume.All
	}
	if c.Metadata == "" {
		c.Metadata = linkLocal
	}
	if c.Wait == nil {
		c.Wait = sleep
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// served asks a metadata service; what it does not find is an empty config.
func served(ctx context.Context, ask ignition.Ask, url string, header http.Header) (ignition.Provided, error) {
	raw, err := ask(ctx, ignition.Request{URL: url, Header: header})
	if errors.Is(err, fetch.ErrNotFound) {
		return ignition.Provided{}, nil
	}
	return ignition.Provided{Raw: raw}, err
}

// look is how often volumes are looked for that may still appear.
const look = 250 * time.Millisecond

// await looks for volumes until one is right, or ctx ends.
func (c Config) await(ctx context.Context, right func(volume.Volume) bool) ([]volume.Volume, error) {
	for {
		found, err := c.find(right)
		if err != nil || len(found) > 0 {
			return found, err
		}
		if err := c.Wait(ctx, look); err != nil {
			return nil, err
		}
	}
}

// find gives a disk without its partitions, where both are right.
func (c Config) find(right func(volume.Volume) bool) ([]volume.Volume, error) {
	all, err := c.Volumes()
	if err != nil {
		return nil, err
	}
	var list []volume.Volume
	for _, v := range all {
		if last := len(list) - 1; right(v) && (last < 0 || !isPart(v.Device, list[last].Device)) {
			list = append(list, v)
		}
	}
	return list, nil
}

// isPart says whether a device is a partition of a disk.
func isPart(device, disk string) bool {
	rest, ok := strings.CutPrefix(device, disk)
	return ok && rest != "" && strings.Trim(rest, "p0123456789") == ""
}

func labelled(label string) func(volume.Volume) bool {
	return func(v volume.Volume) bool { return v.Type != "" && strings.EqualFold(v.Label, label) }
}

// read gives a file of a volume; what is not there is an empty config.
func read(v volume.Volume, name string) (ignition.Provided, error) {
	raw, err := v.ReadFile(name, spec.MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		raw, err = nil, nil
	}
	return ignition.Provided{Raw: raw, Origin: &ignition.Origin{Volume: v.Device}}, err
}
