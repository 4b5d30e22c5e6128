package provision

import (
	"bytes"
	"context"
	"log/slog"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/fetch"
	"holdfast/internal/ignition/spec"
)

// reader reads configs of any version, and logs what is odd in them.
type reader struct{ log *slog.Logger }

func (r reader) load(name string, raw []byte) (types.Config, error) {
	d, err := spec.Loader{}.Load(name, raw)
	if err != nil {
		return types.Config{}, err
	}
	r.warn(d.Findings)
	return d.Config, nil
}

func (r reader) render(ctx context.Context, name string, c types.Config, get ignition.SettingsFetch) (types.Config, []string, error) {
	whole, err := spec.Renderer{Fetch: func(ctx context.Context, settings types.Ignition, r types.Resource) ([]byte, error) {
		var b bytes.Buffer
		err := get(ctx, settings, r, &b)
		return b.Bytes(), err
	}}.Render(ctx, name, c)
	if err != nil {
		return types.Config{}, nil, err
	}
	r.warn(whole.Findings)
	return whole.Config, whole.Sources, nil
}

func (r reader) warn(findings []spec.Finding) {
	for _, f := range findings {
		r.log.Warn("config", "finding", f.String())
	}
}

// fetcher asks as the platform's machines may: with a role where there is one.
func fetcher(platform string, log *slog.Logger) *fetch.Fetcher {
	c := fetch.Config{Log: log}
	switch platform {
	case "aws":
		c.AWS = "http://169.254.169.254"
	case "gcp":
		c.GCP = "http://metadata.google.internal"
	}
	return fetch.New(c)
}
