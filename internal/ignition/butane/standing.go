package butane

import (
	"errors"
	"fmt"

	"github.com/coreos/vcontext/path"
	"github.com/coreos/vcontext/report"

	"holdfast/internal/api"
)

// A Standing is what the machine is certified as, belongs to and believes.
type Standing struct {
	Identity *identity `yaml:"identity"`
	Update   *update   `yaml:"update"`
	Cluster  *cluster  `yaml:"cluster"`
	Config   *trust    `yaml:"config"`
	Report   *endpoint `yaml:"report"`
}

type identity struct {
	Resource string   `yaml:"resource"`
	Owner    string   `yaml:"owner"`
	Reload   []string `yaml:"reload"`
}

type update struct {
	Stream string   `yaml:"stream"`
	Keys   []string `yaml:"keys"`
}

type cluster struct {
	Name     string `yaml:"name"`
	Endpoint string `yaml:"endpoint"`
	CA       string `yaml:"ca"`
	Role     string `yaml:"role"`
}

type trust struct {
	Key      *string `yaml:"key"`
	KeyLocal *string `yaml:"key_local"`
}

func (s Standing) isZero() bool { return s == Standing{} }

// Validate says what is wrong in it, as a machine would.
func (i identity) Validate(c path.ContextPath) (r report.Report) {
	r.AddOnError(c, i.api().Check())
	return r
}

// Validate says what is wrong in it, and what becomes of it.
func (u update) Validate(c path.ContextPath) (r report.Report) {
	r.AddOnError(c, u.api().Check())
	r.AddOnInfo(c, errors.New("no machine image updates itself yet: services find this in "+api.MachineDir+"/update.json"))
	return r
}

// Validate says what is wrong in it, and what becomes of it.
func (l cluster) Validate(c path.ContextPath) (r report.Report) {
	r.AddOnError(c, l.api().Check())
	r.AddOnInfo(c, errors.New("no machine image joins a cluster by itself yet: services find this in "+api.MachineDir+"/cluster.json"))
	return r
}

// Validate wants one key.
func (k trust) Validate(c path.ContextPath) (r report.Report) {
	if (k.Key == nil) == (k.KeyLocal == nil) {
		r.AddOnError(c, errors.New("want key or key_local, one of them"))
	}
	if k.Key != nil {
		r.AddOnError(c.Append("key"), api.MachineConfig{ConfigKey: *k.Key}.Check())
	}
	return r
}

func (i *identity) api() *api.Identity {
	if i == nil {
		return nil
	}
	a := api.Identity(*i)
	return &a
}

func (u *update) api() *api.Update {
	if u == nil {
		return nil
	}
	a := api.Update(*u)
	return &a
}

func (l *cluster) api() *api.Cluster {
	if l == nil {
		return nil
	}
	a := api.Cluster(*l)
	return &a
}

// standing is that of a text which was found valid, with the files that it names.
func (c Config) standing(s Standing) (m api.MachineConfig, err error) {
	m = api.MachineConfig{Identity: s.Identity.api(), Update: s.Update.api(), Cluster: s.Cluster.api()}
	if s.Config != nil {
		if m.ConfigKey, err = c.text(s.Config.Key, s.Config.KeyLocal); err != nil {
			return m, fmt.Errorf("$.config.key_local: %w", err)
		}
	}
	if s.Report != nil {
		to, err := c.endpoint(*s.Report)
		if err != nil {
			return m, fmt.Errorf("$.report: %w", err)
		}
		m.Report = &to
	}
	return m, m.Check()
}
