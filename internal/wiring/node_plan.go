package wiring

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition/plan"
	"holdfast/internal/ignition/spec"
)

// A PlanOn says what a config is planned on.
type PlanOn struct {
	Root string // folder, or ""
	// Disks are DEVICE=IMAGE, or IMAGE for the only disk of the config.
	Disks []string
}

// Plan says what applying a config with all that it refers to would change.
func (n NodeConfig) Plan(ctx context.Context, name string, d *spec.Document, on PlanOn) (*plan.Plan, error) {
	whole, err := n.Render(ctx, name, d)
	if err != nil {
		return nil, err
	}
	images, err := on.images(whole.Config)
	if err != nil {
		return nil, err
	}
	f := n.fetcher(0)
	conf := plan.Config{Root: on.Root, Disks: images, KeyFragments: true, Log: n.Log,
		Fetch: func(ctx context.Context, r types.Resource, w io.Writer) error {
			return f.Fetch(ctx, whole.Config.Ignition, r, w)
		}}
	if on.Root != "" && filepath.Clean(on.Root) == "/" {
		raw, err := os.ReadFile("/proc/cmdline")
		if err != nil {
			return nil, err
		}
		conf.CommandLine = string(raw)
	}
	return plan.Make(ctx, whole.Config, conf)
}

func (on PlanOn) images(c types.Config) (map[string]string, error) {
	images := map[string]string{}
	for _, word := range on.Disks {
		device, image, named := strings.Cut(word, "=")
		if !named {
			if len(c.Storage.Disks) != 1 {
				return nil, fmt.Errorf("disk %s: the config has %d disks: say which one as DEVICE=IMAGE", word, len(c.Storage.Disks))
			}
			device, image = c.Storage.Disks[0].Device, word
		}
		if _, err := os.Stat(image); err != nil {
			return nil, fmt.Errorf("disk: %w", err)
		}
		if !names(c.Storage, device) {
			return nil, fmt.Errorf("no such disk in the config: %s", device)
		}
		images[device] = image
	}
	return images, nil
}

// names says whether a config says anything of a disk or of what is on it. What
// it finds by a label may be on any disk.
func names(s types.Storage, device string) bool {
	is := func(dev string) bool {
		return strings.HasPrefix(dev, device) || strings.HasPrefix(dev, "/dev/disk/by-")
	}
	for _, d := range s.Disks {
		if d.Device == device {
			return true
		}
	}
	for _, r := range s.Raid {
		if slices.ContainsFunc(r.Devices, func(d types.Device) bool { return is(string(d)) }) {
			return true
		}
	}
	return slices.ContainsFunc(s.Luks, func(l types.Luks) bool { return l.Device != nil && is(*l.Device) }) ||
		slices.ContainsFunc(s.Filesystems, func(f types.Filesystem) bool { return is(f.Device) })
}
