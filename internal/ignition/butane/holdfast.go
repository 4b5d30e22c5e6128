package butane

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	base "github.com/coreos/butane/base/v0_7"
	"github.com/coreos/butane/config/common"
	cutil "github.com/coreos/butane/config/util"
	"github.com/coreos/ignition/v2/config/v3_6/types"
	"github.com/coreos/vcontext/path"
	"github.com/coreos/vcontext/report"

	"holdfast/internal/api"
)

// HoldfastVersion is the version of our variant that is read.
const HoldfastVersion = "1.0.0"

// A machine is a text of our variant: Butane's base, and what is measured beside
// the Ignition config.
type machine struct {
	base.Config `yaml:",inline"`
	Attestation attestation `yaml:"attestation"`
	Registry    endpoint    `yaml:"registry"`
	Workload    workload    `yaml:"workload"`
	Standing    `yaml:",inline"`
}

type attestation struct {
	Broker      endpoint   `yaml:"broker"`
	Resources   []resource `yaml:"resources"`
	API         []string   `yaml:"api"`
	Policy      *string    `yaml:"policy"`
	PolicyLocal *string    `yaml:"policy_local"`
}

type endpoint struct {
	URL     *string `yaml:"url"`
	CA      *string `yaml:"ca"`
	CALocal *string `yaml:"ca_local"`
}

type resource struct {
	Name     string  `yaml:"name"`
	Resource *string `yaml:"resource"`
	Sealed   *string `yaml:"sealed"`
}

type workload struct {
	Image      *string  `yaml:"image"`
	Args       []string `yaml:"args"`
	Entrypoint []string `yaml:"entrypoint"`
	Env        []string `yaml:"env"`
	User       string   `yaml:"user"`
	Workdir    string   `yaml:"workdir"`
	Hostname   string   `yaml:"hostname"`
	ReadOnly   bool     `yaml:"read_only"`
	Tmpfs      []tmpfs  `yaml:"tmpfs"`
	Mounts     []mount  `yaml:"mounts"`
	Control    []string `yaml:"control"`
}

type tmpfs struct {
	Path   string `yaml:"path"`
	Size   int64  `yaml:"size"`
	Mode   string `yaml:"mode"`
	NoExec bool   `yaml:"no_exec"`
}

type mount struct {
	Source   string `yaml:"source"`
	Path     string `yaml:"path"`
	ReadOnly bool   `yaml:"read_only"`
}

// FieldFilters are Butane's for what a variant forbids; the check for a machine
// image says more.
func (machine) FieldFilters() *cutil.FieldFilters { return nil }

// ToIgn3_6 is how Butane calls a translation.
func (m machine) ToIgn3_6(options common.TranslateOptions) (types.Config, report.Report, error) {
	cfg, r, err := cutil.Translate(m, "ToIgn3_6Unvalidated", options)
	c, _ := cfg.(types.Config)
	return c, r, err
}

// Validate wants what belongs together, and says what becomes of the rest.
func (m machine) Validate(c path.ContextPath) (r report.Report) {
	if m.Identity != nil {
		for i, name := range m.Identity.Reload {
			if !slices.ContainsFunc(m.Systemd.Units, func(u base.Unit) bool { return u.Name == name }) {
				r.AddOnError(c.Append("identity", "reload", i), errors.New("the config has no such service: nothing could be reloaded"))
			}
		}
	}
	if m.hasGuest() && m.Workload.Image == nil {
		r.AddOnError(c.Append("workload"), errors.New("there is no image: a machine is for one workload"))
	}
	if m.Workload.Image != nil {
		r.AddOnInfo(c.Append("workload"), errors.New("with attestation and registry, this is no part of Ignition: node config init-data writes all of it"))
	}
	if m.Workload.Image != nil && m.Registry.URL == nil {
		r.AddOnError(c.Append("workload", "image"), errors.New("there is no registry.url to pull it from"))
	}
	if a := m.Attestation; a.Broker.URL == nil && len(a.Resources)+len(a.API) > 0 {
		r.AddOnError(c.Append("attestation"), errors.New("there is no broker.url to ask"))
	}
	return r
}

// Validate wants a URL that proves who answers.
func (e endpoint) Validate(c path.ContextPath) (r report.Report) {
	switch {
	case e.URL == nil && (e.CA != nil || e.CALocal != nil):
		r.AddOnError(c, errors.New("there is no url"))
	case e.URL == nil:
	case e.CA == nil && e.CALocal == nil:
		r.AddOnError(c.Append("url"), errors.New("there is no ca beside it, and nobody else may vouch for it"))
	default:
		if u, err := url.Parse(*e.URL); err != nil || u.Scheme != "https" || u.Host == "" {
			r.AddOnError(c.Append("url"), errors.New("is no URL of https"))
		}
	}
	if e.CA != nil && e.CALocal != nil {
		r.AddOnError(c.Append("ca_local"), errors.New("stands beside ca: want one of them"))
	}
	if e.CA != nil && !strings.Contains(*e.CA, "-----BEGIN CERTIFICATE-----") {
		r.AddOnError(c.Append("ca"), errors.New("is no certificate in PEM"))
	}
	return r
}

// Validate wants a name and where the secret comes from.
func (s resource) Validate(c path.ContextPath) (r report.Report) {
	if s.Name == "" || strings.ContainsAny(s.Name, "/\x00") {
		r.AddOnError(c.Append("name"), errors.New("is no name of a file"))
	}
	if (s.Resource == nil) == (s.Sealed == nil) {
		r.AddOnError(c, errors.New("want resource or sealed, one of them"))
	}
	if s.Resource != nil && (!strings.HasPrefix(*s.Resource, "kbs:///") || strings.Count(*s.Resource, "/") != 5) {
		r.AddOnError(c.Append("resource"), errors.New("is not kbs:///REPOSITORY/TYPE/TAG"))
	}
	return r
}

// Validate wants one policy.
func (a attestation) Validate(c path.ContextPath) (r report.Report) {
	if a.Policy != nil && a.PolicyLocal != nil {
		r.AddOnError(c.Append("policy_local"), errors.New("stands beside policy: want one of them"))
	}
	return r
}

func (m machine) hasGuest() bool {
	w := m.Workload
	return m.Attestation.Broker.URL != nil || m.Registry.URL != nil || w.Image != nil || len(w.Args)+len(w.Entrypoint)+len(w.Env)+len(w.Tmpfs)+len(w.Mounts)+len(w.Control) > 0 ||
		w.User != "" || w.Workdir != "" || w.Hostname != "" || w.ReadOnly || len(m.Attestation.Resources)+len(m.Attestation.API) > 0 || m.Attestation.Policy != nil || m.Attestation.PolicyLocal != nil
}

// translate makes the Ignition config of a text of our variant. A key that
// nobody knows is an error: what is not read might be meant as a restriction.
func (c Config) machine(text []byte) (m machine, ignition []byte, r report.Report, err error) {
	ignition, r, err = cutil.TranslateBytes(text, &m, "ToIgn3_6", common.TranslateBytesOptions{
		TranslateOptions: common.TranslateOptions{FilesDir: c.Files}, Raw: true,
	})
	for i, e := range r.Entries {
		if strings.HasPrefix(strings.ToLower(e.Message), "unused key") {
			r.Entries[i].Kind, r.Entries[i].Message = report.Error, errUnknownKey.Error()
		}
	}
	if err == nil && r.IsFatal() {
		err = common.ErrInvalidSourceConfig
	}
	return m, ignition, r, err
}

var errUnknownKey = errors.New("the key is unknown to the variant holdfast")

// Guest is what a text of our variant says of the machine beside its Ignition
// config; nil when it says nothing. Without a workload it has a MachineConfig
// only.
func (c Config) Guest(text []byte) (*api.GuestConfig, error) {
	m, _, _, err := c.machine(text)
	if err != nil || !m.hasGuest() && m.Standing.isZero() {
		return nil, err
	}
	w, a := m.Workload, m.Attestation
	g := &api.GuestConfig{Image: value(w.Image), API: a.API, Control: w.Control, Process: api.Process{
		Args: w.Args, Entrypoint: w.Entrypoint, Env: w.Env, User: w.User, Workdir: w.Workdir, Hostname: w.Hostname, ReadOnly: w.ReadOnly,
	}}
	if g.Broker, err = c.endpoint(a.Broker); err != nil {
		return nil, fmt.Errorf("$.attestation.broker: %w", err)
	}
	if g.Registry, err = c.endpoint(m.Registry); err != nil {
		return nil, fmt.Errorf("$.registry: %w", err)
	}
	if g.Policy, err = c.text(a.Policy, a.PolicyLocal); err != nil {
		return nil, fmt.Errorf("$.attestation.policy_local: %w", err)
	}
	for _, s := range a.Resources {
		g.Secrets = append(g.Secrets, api.SecretRef{Name: s.Name, Resource: value(s.Resource), Sealed: value(s.Sealed)})
	}
	for _, t := range w.Tmpfs {
		g.Tmpfs = append(g.Tmpfs, api.Tmpfs(t))
	}
	for _, t := range w.Mounts {
		g.Mounts = append(g.Mounts, api.Mount(t))
	}
	if g.MachineConfig, err = c.standing(m.Standing); err != nil || !m.hasGuest() {
		return g, err
	}
	if err := g.Check(); err != nil {
		return nil, fmt.Errorf("$.workload: %w", err)
	}
	return g, nil
}

func (c Config) endpoint(e endpoint) (api.Endpoint, error) {
	ca, err := c.text(e.CA, e.CALocal)
	return api.Endpoint{URL: value(e.URL), CA: ca}, err
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
