package wiring

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition/fetch"
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
	f := fetch.New(fetch.Config{Total: n.Timeout, Log: n.Log})
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
		images[device] = image
	}
	return images, nil
}
