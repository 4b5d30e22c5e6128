package platform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/fetch"
	"holdfast/internal/ignition/spec"
	"holdfast/internal/ignition/volume"
	"holdfast/internal/input"
)

// seedWait is how long a volume of this platform may take to appear, as
// upstream's proxmoxve has it.
const seedWait = 30 * time.Second

// nocloud reads user-data from where a seed URL says (cloud-init, "NoCloud":
// ds=nocloud;s=URL on the kernel's command line or as the machine's serial), or
// else from a volume labelled cidata. What cloud-init would run, and Ignition
// cannot, is no config.
func nocloud(ctx context.Context, c Config, ask ignition.Ask) (ignition.Provided, error) {
	seed, named := seedOf(c.CommandLine)
	if seed == "" {
		if s, ok := seedOf(c.Serial); ok {
			seed, named = s, true
		}
	}
	p, err := seeded(ctx, c, ask, seed)
	if err != nil {
		return p, err
	}
	if named {
		c.Log.Info("ds=nocloud is named", "seed", spec.PublicURL(seed))
	}
	if bytes.HasPrefix(p.Raw, []byte("#cloud-config\n")) {
		c.Log.Warn("user-data is for cloud-init and not read")
		p.Raw = nil
	}
	return p, nil
}

// seedOf reads ds=nocloud;s=URL, ds=nocloud-net;seedfrom=URL and the like out of
// the words of a line.
func seedOf(line string) (seed string, named bool) {
	for word := range strings.FieldsSeq(line) {
		options, ok := strings.CutPrefix(word, "ds=nocloud")
		if !ok {
			continue
		}
		options = strings.TrimPrefix(options, "-net")
		if options != "" && options[0] != ';' {
			continue
		}
		named = true
		for option := range strings.SplitSeq(options, ";") {
			name, value, _ := strings.Cut(option, "=")
			if name == "s" || name == "seedfrom" {
				seed = value
			}
		}
	}
	return seed, named
}

func seeded(ctx context.Context, c Config, ask ignition.Ask, seed string) (ignition.Provided, error) {
	if seed == "" {
		return seedVolume(ctx, c)
	}
	u, err := url.Parse(seed)
	if err != nil {
		return ignition.Provided{}, fmt.Errorf("seed %s: want a URL that user-data is appended to", spec.PublicURL(seed))
	}
	switch u.Scheme {
	case "http", "https":
		raw, err := ask(ctx, ignition.Request{URL: seed + "user-data", Follow: true})
		if errors.Is(err, fetch.ErrNotFound) {
			return ignition.Provided{}, nil
		}
		return ignition.Provided{Raw: raw}, err
	case "file", "":
		raw, err := input.ReadFile(filepath.Join(u.Path, "user-data"), spec.MaxSize)
		return ignition.Provided{Raw: raw, Origin: &ignition.Origin{Folder: filepath.Clean(u.Path)}}, err
	}
	return ignition.Provided{}, fmt.Errorf("seed %s: scheme %.20q: want http, https or file", spec.PublicURL(seed), u.Scheme)
}

// seedVolume gives user-data, or else vendor-data.
func seedVolume(ctx context.Context, c Config) (ignition.Provided, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, seedWait, fs.ErrNotExist)
	defer cancel()
	found, err := c.await(ctx, labelled("cidata"))
	if errors.Is(err, fs.ErrNotExist) {
		c.Log.Info("no volume is labelled cidata", "waited", seedWait)
		return ignition.Provided{}, nil
	}
	if err != nil {
		return ignition.Provided{}, err
	}
	return firstOf(found[0], "user-data", "vendor-data")
}

func firstOf(v volume.Volume, names ...string) (p ignition.Provided, err error) {
	for _, name := range names {
		if p, err = read(v, name); err != nil || len(p.Raw) > 0 {
			return p, err
		}
	}
	return p, nil
}
