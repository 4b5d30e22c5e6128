package ignition

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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
			c, err := e.Load(path, raw, false)
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
func (e *engine) acquire(ctx context.Context, base types.Config) (types.Config, error) {
	c, err := e.user(ctx)
	if err != nil {
		return types.Config{}, err
	}
	if e.Check != nil {
		if err := e.Check(latest.Merge(base, c)); err != nil {
			return types.Config{}, fmt.Errorf("with the base configs: %w", err)
		}
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
		get  func(context.Context) (Provided, error)
	}{{"cmdline", e.commandLine}, {"system", e.systemUser}, {e.Platform, e.platform}}
	for _, s := range sources {
		p, err := s.get(ctx)
		if errors.Is(err, ErrNoConfig) {
			continue
		}
		if err != nil {
			return types.Config{}, fmt.Errorf("config from %s: %w", s.name, err)
		}
		return e.rendered(ctx, s.name, p)
	}
	return types.Config{}, fmt.Errorf("platform %s: %w", e.Platform, ErrNoConfig)
}

func (e *engine) rendered(ctx context.Context, source string, p Provided) (types.Config, error) {
	var err error
	if p.Raw, err = e.admit(ctx, source, p.Raw, false); err != nil {
		return types.Config{}, err
	}
	local := p.Origin != nil && e.Root != nil
	if e.state.Origin = p.Origin; local {
		e.Root(*p.Origin)
	}
	c, err := e.Load(source, p.Raw, local)
	if errors.Is(err, configerrors.ErrEmpty) {
		e.Log.Info("the config is empty: nothing to do", "source", source)
		return types.Config{Ignition: types.Ignition{Version: types.MaxVersion.String()}}, nil
	}
	if err != nil {
		return types.Config{}, err
	}
	e.state.FetchedConfigs = append(e.state.FetchedConfigs, FetchedConfig{Kind: "user", Source: source})
	c, referenced, err := e.Render(ctx, source, c, local, e.Fetch, e.admit)
	if err != nil {
		return types.Config{}, err
	}
	for _, r := range referenced {
		e.state.FetchedConfigs = append(e.state.FetchedConfigs, FetchedConfig{Kind: "user", Source: r, Referenced: true})
	}
	return c, nil
}

// admit is asked before a config is parsed, and what it admits is measured, once
// in a boot.
func (e *engine) admit(ctx context.Context, source string, raw []byte, hashed bool) ([]byte, error) {
	if e.Admit != nil {
		var err error
		if raw, err = e.Admit(ctx, source, raw, hashed); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256(raw)
	digest := hex.EncodeToString(sum[:])
	if e.Measure == nil || slices.Contains(e.state.Measured, digest) {
		return raw, nil
	}
	if err := e.Measure(ctx, source, raw); err != nil {
		return nil, err
	}
	e.state.Measured = append(e.state.Measured, digest)
	return raw, e.state.Save(e.State) // now: a run that fails is run again
}

// platform has the time that the first config is given.
func (e *engine) platform(ctx context.Context) (Provided, error) {
	if e.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, e.Timeout, fmt.Errorf("no config in %v", e.Timeout))
		defer cancel()
	}
	return e.Provide(ctx, e.Ask)
}

func (e *engine) systemUser(context.Context) (Provided, error) {
	raw, err := os.ReadFile(filepath.Join(e.SystemDir, "user.ign"))
	if errors.Is(err, fs.ErrNotExist) {
		return Provided{}, ErrNoConfig
	}
	return Provided{Raw: raw, Origin: &Origin{Folder: e.SystemDir}}, err
}

// commandLine takes the last ignition.config.url.
func (e *engine) commandLine(ctx context.Context) (Provided, error) {
	source, _ := Argument(e.CommandLine, "ignition.config.url")
	if source == "" {
		return Provided{}, ErrNoConfig
	}
	var settings types.Ignition
	if total := int(e.Timeout.Seconds()); total > 0 {
		settings.Timeouts.HTTPTotal = &total
	}
	var b bytes.Buffer
	err := e.Fetch(ctx, settings, types.Resource{Source: &source}, &b)
	return Provided{Raw: b.Bytes()}, err
}

// Argument is the last value that a kernel's command line gives a name.
func Argument(line, name string) (value string, ok bool) {
	for word := range strings.FieldsSeq(line) {
		if v, found := strings.CutPrefix(word, name+"="); found {
			value, ok = v, true
		}
	}
	return value, ok
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
