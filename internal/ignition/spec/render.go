package spec

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	latest "github.com/coreos/ignition/v2/config/v3_7_experimental"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
	"github.com/coreos/vcontext/validate"
)

// Limits of what a config may bring in: upstream has none, and follows a
// config that merges itself for ever.
const (
	maxChain   = 32
	maxConfigs = 512
)

// A Fetch gets what r names, decompressed and verified, with the timeouts, the
// proxies and the authorities of settings.
type Fetch func(ctx context.Context, settings types.Ignition, r types.Resource) ([]byte, error)

// A Renderer makes one config of all that a config merges or is replaced by.
type Renderer struct {
	// Loader allows files where the first config may name them: what that gets
	// from files may then too, and what it gets from elsewhere may not.
	Loader Loader
	Fetch  Fetch
	// Admit is asked before a config that was fetched is parsed; hashed says that
	// whoever names it knows its bytes. nil admits all.
	Admit func(ctx context.Context, name string, raw []byte, hashed bool) ([]byte, error)
}

// A Rendered config is whole.
type Rendered struct {
	Config   Config
	Sources  []string  // public URLs of what was brought in, in the order of fetching
	Findings []Finding // warnings of all of them
}

// Render follows ignition.config.replace and merge, depth first and in their
// order, with the settings that upstream uses at each step.
func (r Renderer) Render(ctx context.Context, name string, cfg Config) (*Rendered, error) {
	run := &rendering{Renderer: r, settings: cfg.Ignition, chain: []string{name}}
	whole, err := run.render(ctx, cfg)
	if err != nil {
		return nil, err
	}
	run.out.Config = whole
	run.use(whole)
	if len(run.out.Sources) == 0 {
		return &run.out, nil // it is as it was read, and was validated then
	}
	var findings []Finding
	asMasked(&run.out.Config, func(c Config) {
		findings = newSource("the merged config", nil).findings(validate.Validate(c, "json"))
	})
	if hasErrors(findings) {
		return nil, &InvalidError{findings}
	}
	return &run.out, nil
}

type rendering struct {
	Renderer
	settings types.Ignition // those that the next fetch uses
	chain    []string       // sources from the first config to this one
	out      Rendered
}

// use takes over a config's settings; authorities stay when it names none.
func (r *rendering) use(cfg Config) {
	kept := r.settings.Security.TLS.CertificateAuthorities
	r.settings = cfg.Ignition
	if len(r.settings.Security.TLS.CertificateAuthorities) == 0 {
		r.settings.Security.TLS.CertificateAuthorities = kept
	}
}

func (r *rendering) render(ctx context.Context, cfg Config) (Config, error) {
	if ref := cfg.Ignition.Config.Replace; ref.Source != nil {
		return r.follow(ctx, ref, func(c Config) Config { return c })
	}
	merged := cfg
	for _, ref := range cfg.Ignition.Config.Merge {
		child, err := r.follow(ctx, ref, func(c Config) Config { return latest.Merge(merged, c) })
		if err != nil {
			return Config{}, err
		}
		merged = latest.Merge(merged, child)
	}
	return merged, nil
}

// follow fetches a config and renders it, with the settings of what with makes
// of it.
func (r *rendering) follow(ctx context.Context, ref types.Resource, with func(Config) Config) (Config, error) {
	if ref.Source == nil {
		return Config{}, invalid(r.chain[len(r.chain)-1], "merges or is replaced by nothing", "source")
	}
	if err := r.enter(*ref.Source); err != nil {
		return Config{}, err
	}
	defer func() { r.chain = r.chain[:len(r.chain)-1] }()
	name := PublicURL(*ref.Source)
	raw, err := r.fetch(ctx, name, ref)
	if err != nil {
		return Config{}, err
	}
	parent := r.Loader.Files
	r.Loader.Files = parent && (isFileURL(*ref.Source) || isInline(ref))
	defer func() { r.Loader.Files = parent }()
	d, err := r.Loader.Load(name, raw)
	if err != nil {
		return Config{}, err
	}
	r.out.Sources = append(r.out.Sources, name)
	r.out.Findings = append(r.out.Findings, d.Findings...)
	r.use(with(d.Config))
	return r.render(ctx, d.Config)
}

// fetch gets the bytes of a config that may be parsed. What stands in its
// parent is as good as that.
func (r *rendering) fetch(ctx context.Context, name string, ref types.Resource) ([]byte, error) {
	raw, err := r.Fetch(ctx, r.settings, ref)
	if err != nil || r.Admit == nil {
		return raw, err
	}
	hashed := ref.Verification.Hash != nil && *ref.Verification.Hash != ""
	return r.Admit(ctx, name, raw, hashed || isInline(ref))
}

func isInline(ref types.Resource) bool { return strings.HasPrefix(*ref.Source, "data:") }

// enter refuses a source that is above in the chain already.
func (r *rendering) enter(source string) error {
	if at := slices.Index(r.chain, source); at >= 0 {
		names := []string{}
		for _, s := range append(r.chain[at:], source) {
			names = append(names, PublicURL(s))
		}
		return fmt.Errorf("a config merges itself: %s", strings.Join(names, " → "))
	}
	if len(r.chain) > maxChain || len(r.out.Sources) >= maxConfigs {
		return fmt.Errorf("%s: configs bring in more than %d others, or in a chain longer than %d", PublicURL(source), maxConfigs, maxChain)
	}
	r.chain = append(r.chain, source)
	return nil
}

// PublicURL is a URL without what may be secret in it: user, query, fragment,
// and all of a data URL.
func PublicURL(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		scheme, _, _ := strings.Cut(raw, ":")
		return fmt.Sprintf("%.8q…", scheme)
	case u.Scheme == "data":
		return "data:…"
	}
	u.User, u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = nil, "", false, "", ""
	return u.String()
}
