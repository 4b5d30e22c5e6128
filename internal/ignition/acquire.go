package ignition

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	configerrors "github.com/coreos/ignition/v2/config/shared/errors"
	latest "github.com/coreos/ignition/v2/config/v3_7_experimental"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/atomicfile"
)

// base merges what the distribution ships for all machines and for this
// platform.
func (e *engine) base() (types.Config, error) {
	whole := types.Config{Ignition: types.Ignition{Version: types.MaxVersion.String()}}
	for _, dir := range []string{"base.d", filepath.Join("base.platform.d", e.Platform)} {
		entries, err := os.ReadDir(filepath.Join(e.SystemDir, dir))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return types.Config{}, fmt.Errorf("base config: %w", err)
		}
		for _, entry := range entries {
			path := filepath.Join(e.SystemDir, dir, entry.Name())
			raw, err := os.ReadFile(path)
			if err != nil {
				return types.Config{}, fmt.Errorf("base config: %w", err)
			}
			c, err := e.Load(path, raw)
			if err != nil {
				return types.Config{}, err
			}
			whole = latest.Merge(whole, c)
		}
	}
	return whole, nil
}

// acquire fetches the machine's own config with all that it refers to, and
// keeps it for the later stages.
func (e *engine) acquire(ctx context.Context) (types.Config, error) {
	c, err := e.user(ctx)
	if err != nil {
		return types.Config{}, err
	}
	if err := e.keepAuthorities(ctx, c.Ignition); err != nil {
		return types.Config{}, err
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return types.Config{}, err
	}
	if err := atomicfile.WriteFile(e.Cache, raw, 0o640); err != nil {
		return types.Config{}, fmt.Errorf("keep the config: %w", err)
	}
	return c, nil
}

// user asks the kernel's command line, the distribution, then the platform. An
// empty config is one.
func (e *engine) user(ctx context.Context) (types.Config, error) {
	sources := []struct {
		name string
		get  func(context.Context) ([]byte, error)
	}{{"cmdline", e.commandLine}, {"system", e.systemUser}, {e.Platform, e.platform}}
	for _, s := range sources {
		raw, err := s.get(ctx)
		if errors.Is(err, ErrNoConfig) {
			continue
		}
		if err != nil {
			return types.Config{}, fmt.Errorf("config from %s: %w", s.name, err)
		}
		return e.rendered(ctx, s.name, raw)
	}
	return types.Config{}, fmt.Errorf("platform %s: %w", e.Platform, ErrNoConfig)
}

func (e *engine) rendered(ctx context.Context, source string, raw []byte) (types.Config, error) {
	c, err := e.Load(source, raw)
	if errors.Is(err, configerrors.ErrEmpty) {
		e.Log.Info("the config is empty: nothing to do", "source", source)
		return types.Config{Ignition: types.Ignition{Version: types.MaxVersion.String()}}, nil
	}
	if err != nil {
		return types.Config{}, err
	}
	e.state.FetchedConfigs = append(e.state.FetchedConfigs, FetchedConfig{Kind: "user", Source: source})
	c, referenced, err := e.Render(ctx, source, c, e.Fetch)
	if err != nil {
		return types.Config{}, err
	}
	for _, r := range referenced {
		e.state.FetchedConfigs = append(e.state.FetchedConfigs, FetchedConfig{Kind: "user", Source: r, Referenced: true})
	}
	return c, nil
}

// first are the settings before there is a config.
func (e *engine) first() Fetch {
	var settings types.Ignition
	if total := int(e.Timeout.Seconds()); total > 0 {
		settings.Timeouts.HTTPTotal = &total
	}
	return e.Fetch.with(settings)
}

func (e *engine) platform(ctx context.Context) ([]byte, error) { return e.Provide(ctx, e.first()) }

func (e *engine) systemUser(context.Context) ([]byte, error) {
	raw, err := os.ReadFile(filepath.Join(e.SystemDir, "user.ign"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoConfig
	}
	return raw, err
}

// commandLine takes the last ignition.config.url.
func (e *engine) commandLine(ctx context.Context) ([]byte, error) {
	var source string
	for word := range strings.FieldsSeq(e.CommandLine) {
		if v, ok := strings.CutPrefix(word, "ignition.config.url="); ok {
			source = v
		}
	}
	if source == "" {
		return nil, ErrNoConfig
	}
	var b bytes.Buffer
	err := e.first()(ctx, types.Resource{Source: &source}, &b)
	return b.Bytes(), err
}

// keepAuthorities puts certificates into the config where it names them, for
// stages that have no network. What is none is refused, also where nothing
// would ask for it.
func (e *engine) keepAuthorities(ctx context.Context, settings types.Ignition) error {
	for i, ca := range settings.Security.TLS.CertificateAuthorities {
		if ca.Source == nil {
			continue
		}
		var b bytes.Buffer
		err := e.Fetch(ctx, settings, ca, &b)
		if err == nil {
			err = checkAuthority(b.Bytes())
		}
		if err != nil {
			return At(err, "$.ignition.security.tls.certificateAuthorities[%d]", i)
		}
		if !strings.HasPrefix(*ca.Source, "data:") {
			settings.Security.TLS.CertificateAuthorities[i] = types.Resource{Source: dataURL(b.Bytes())}
		}
	}
	return nil
}

func checkAuthority(raw []byte) error {
	block, _ := pem.Decode(raw)
	if block == nil {
		return errors.New("has no PEM block, want a certificate")
	}
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		return fmt.Errorf("is no certificate: %w", err)
	}
	return nil
}

func dataURL(raw []byte) *string {
	s := "data:;base64," + base64.StdEncoding.EncodeToString(raw)
	return &s
}
