// Package platform knows where machines of each kind find their config.
//
// A platform is a file here and a name in All.
package platform

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast/internal/ignition"
)

// Config is what platforms read from.
type Config struct {
	// File is where the platform file has its config; the default is config.ign
	// in the working folder.
	File string
	// FwCfg and GCP stand in for QEMU's firmware folder and Google's metadata
	// service.
	FwCfg, GCP string
}

// A Provider gets a platform's config, or ignition.ErrNoConfig.
type Provider func(ctx context.Context, c Config, fetch ignition.Fetch) ([]byte, error)

// All of them by name.
var All = map[string]Provider{
	"file": file,
	"gcp":  gcp,
	"qemu": qemu,
}

// Find is the provider of a name.
func Find(name string) (Provider, error) {
	p, ok := All[name]
	if !ok {
		return nil, fmt.Errorf("platform %q is unknown: want one of %s", name, strings.Join(slices.Sorted(maps.Keys(All)), ", "))
	}
	return p, nil
}
