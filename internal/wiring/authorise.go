package wiring

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"holdfast/internal/api"
	"holdfast/internal/broker/admin"
	"holdfast/internal/input"
	"holdfast/internal/keys"
)

// kbsScheme begins the name of a resource at the machine's own broker.
const kbsScheme = "kbs:///"

// authorise writes the machine's configuration, puts the secrets at the
// broker and, when the broker is this run's, has its administrator authorise
// exactly that configuration for exactly those resources.
func (s *session) authorise(ctx context.Context) error {
	for _, secret := range s.Secrets {
		s.secrets = append(s.secrets, s.secretRef(secret))
	}
	var err error
	if s.config, err = s.initData(); err != nil {
		return err
	}
	s.report.Configuration = s.configDigest()
	if s.report.Resources, err = s.resources(); err != nil {
		return err
	}
	if s.Broker != nil {
		return s.checkForeign()
	}
	return s.register(ctx)
}

// checkForeign says what a run with somebody else's broker cannot do.
func (s *session) checkForeign() error {
	for _, secret := range s.Secrets {
		if secret.isPlaced() {
			return fmt.Errorf("secret %s: its value cannot be put at another's broker: name a resource there, as %s=kbs:///REPOSITORY/TYPE/TAG",
				secret.Name, secret.Name)
		}
	}
	return nil
}

func (s *session) register(ctx context.Context) error {
	var placed []string
	for _, secret := range s.Secrets {
		if secret.isPlaced() {
			placed = append(placed, s.secretPath(secret))
		}
	}
	// Noted before it is so: whoever finds this run dead takes it all back.
	err := s.record.note(func(r *Record) { r.Configuration, r.Secrets = s.report.Configuration, placed })
	if err != nil {
		return err
	}
	broker := s.services.admin()
	reference, err := input.ReadFile(s.guest.ReferencePath(), input.Document)
	if err != nil {
		return err
	}
	if err := broker.Trust(ctx, reference); err != nil {
		return fmt.Errorf("trust machine image %s: %w", s.guest.Name, err)
	}
	if err := loadContentsOnce(ctx, broker, s.guest); err != nil && s.Log != nil {
		s.Log.Warn("broker cannot tell what the machine image is made of", "err", err)
	}
	for _, secret := range s.Secrets {
		if !secret.isPlaced() {
			continue
		}
		if err := broker.SetResource(ctx, s.secretPath(secret), secret.Value); err != nil {
			return fmt.Errorf("put secret %s at the broker: %w", secret.Name, err)
		}
	}
	if err := broker.Allow(ctx, s.report.Configuration, s.report.Resources); err != nil {
		return fmt.Errorf("authorise the configuration: %w", err)
	}
	return nil
}

// A NoResourceError says that an image needs a key that the broker lacks.
type NoResourceError struct{ Image, Resource string }

func (e *NoResourceError) Error() string {
	return fmt.Sprintf("image %s needs %s%s, which the broker does not have", e.Image, kbsScheme, e.Resource)
}

// withdraw ends what register began, as far as it came. What the broker does
// not hear stays in the record of a run that is not over, and the next one
// tells it.
func (s *session) withdraw() {
	r := s.record.now()
	if !r.owes() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := withdraw(ctx, s.services.admin(), r.Configuration, r.Secrets)
	if err == nil {
		err = s.record.note(func(r *Record) { r.Configuration, r.Secrets = "", nil })
	}
	if err != nil && s.Log != nil {
		s.Log.Warn("broker keeps what this run registered, until the next run", "err", err)
	}
}

func withdraw(ctx context.Context, broker *admin.Client, configuration string, secrets []string) error {
	var err error
	if configuration != "" {
		err = forgiveAbsent(broker.Withdraw(ctx, configuration))
	}
	for _, path := range secrets {
		err = errors.Join(err, forgiveAbsent(broker.DeleteResource(ctx, path)))
	}
	return err
}

// forgiveAbsent takes the broker's word that there was nothing to take back.
func forgiveAbsent(err error) error {
	var answer *admin.RefusedError
	if errors.As(err, &answer) && answer.Status == http.StatusNotFound {
		return nil
	}
	return err
}

// secretPath is where a secret is. The type of a run's own keeps it apart from
// what an administrator has set, which a run must neither replace nor delete.
func (s *session) secretPath(secret Secret) string {
	if path, ok := strings.CutPrefix(secret.Resource, kbsScheme); ok {
		return path
	}
	return s.Name + "/run-secret/" + secret.Name
}

func (s *session) configDigest() string {
	sum := sha256.Sum256(s.config)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// initData is the document with this run's configuration.
func (s *session) initData() ([]byte, error) {
	ca := string(s.ring.CertificatePEM(keys.TLS))
	control := []string{api.CallSignal, api.CallStop}
	if s.Interactive {
		control = append(control, api.CallStdin)
	}
	cfg := api.GuestConfig{
		Image:    s.reference(),
		Policy:   s.Policy,
		Registry: api.Endpoint{URL: fmt.Sprintf("https://%s:%d", guestGateway, s.services.registry.port), CA: ca},
		Broker:   api.Endpoint{URL: fmt.Sprintf("https://%s:%d", guestGateway, s.services.broker.port), CA: ca},
		Process: api.Process{
			Args: s.Args, Entrypoint: s.Entrypoint, Env: s.Env,
			User: s.User, Workdir: s.Workdir, Hostname: s.Hostname, ReadOnly: s.ReadOnly,
		},
		Secrets: s.secrets,
		API:     s.API,
		Tmpfs:   s.Tmpfs,
		Mounts:  s.Mounts,
		Control: control,

		MachineConfig: s.Machine,
	}
	if s.Broker != nil {
		cfg.Broker = fromInside(*s.Broker)
	}
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	return initDataWith(cfg, s.Ignition)
}

// fromInside is the endpoint as the machine sees it: what listens on this
// host's loopback, it finds at its gateway.
func fromInside(e api.Endpoint) api.Endpoint {
	u, err := url.Parse(e.URL)
	if err == nil && isLoopback(u.Host) {
		e.URL = u.Scheme + "://" + guestGateway + ":" + u.Port()
	}
	return e
}

// InitData is the init-data document with c in it.
// https://github.com/confidential-containers/trustee/blob/main/kbs/docs/initdata.md
func InitData(c api.GuestConfig) ([]byte, error) { return initDataWith(c, nil) }

// initDataWith has an Ignition config too, unless that is nil.
func initDataWith(c api.GuestConfig, ignition []byte) ([]byte, error) {
	config, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	doc := struct {
		Version   string            `toml:"version"`
		Algorithm string            `toml:"algorithm"`
		Data      map[string]string `toml:"data"`
	}{"0.1.0", "sha256", map[string]string{api.GuestConfigKey: string(config)}}
	if ignition != nil {
		doc.Data[api.IgnitionKey] = string(ignition)
	}
	err = toml.NewEncoder(&buf).Encode(doc)
	return buf.Bytes(), err
}

// extended is what PCR 8 shows when digest, as sha256:…, was extended into it
// once and alone.
func extended(digest string) string {
	raw, err := hex.DecodeString(strings.TrimPrefix(digest, "sha256:"))
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(append(make([]byte, sha256.Size), raw...))
	return hex.EncodeToString(sum[:])
}
