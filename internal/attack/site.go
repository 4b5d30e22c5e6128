package attack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/attest/kbc"
	"holdfast/internal/broker/admin"
	"holdfast/internal/keys"
	"holdfast/internal/oci"
	"holdfast/internal/sign"
	"holdfast/internal/swtpm"
	"holdfast/internal/wiring"
)

// A site is an installation of the lab's own, with a registry and a broker
// that answer as holdfast serve's do, and a machine image that it trusts.
type site struct {
	lab          *Lab
	installation wiring.Installation
	ring         *keys.Ring
	services     *wiring.Services
	admin        *admin.Client
}

func (l *Lab) site(ctx context.Context) (*site, error) {
	return Shared(l, "site", func() (*site, error) {
		if err := swtpm.Installed(); err != nil {
			return nil, err
		}
		i, err := wiring.Open(filepath.Join(l.dir, "site"))
		if err != nil {
			return nil, err
		}
		s := &site{lab: l, installation: i}
		if s.ring, err = i.Ring(ctx); err != nil {
			return nil, err
		}
		s.services, err = i.Serve(s.ring, wiring.ServeConfig{
			RegistryListen: "127.0.0.1:0", BrokerListen: "127.0.0.1:0", TLS: true,
		})
		if err != nil {
			return nil, err
		}
		l.Later(s.services.Close)
		if s.admin, err = i.RemoteAdmin(s.ring, s.services.BrokerURL()); err != nil {
			return nil, err
		}
		return s, s.furnish(ctx)
	})
}

// What the site's broker holds: the workload's key and another workload's.
const (
	ownKey   = "default/key/own"
	otherKey = "default/key/other"
	ownValue = "this workload's key"
)

func (s *site) furnish(ctx context.Context) error {
	envelope, err := references(ukiMeasured, s.ring.Statements())
	if err != nil {
		return err
	}
	return errors.Join(
		s.admin.Trust(ctx, envelope),
		s.admin.SetResource(ctx, ownKey, []byte(ownValue)),
		s.admin.SetResource(ctx, otherKey, []byte("another workload's key")),
	)
}

// references say what the lab's machines show after the boot of a UKI, in the
// form in which an image's builder states it.
func references(uki string, by ...sign.Signer) ([]byte, error) {
	zero := strings.Repeat("0", 64)
	values := api.ReferenceValues{
		Image: "bare", PCRs: map[string]string{"11": extended(uki), "12": zero, "13": zero},
		Firmware: []api.FirmwareReference{{SecureBoot: true, PCRs: map[string]string{
			"4": extended(loaderMeasured), "7": extended(keysMeasured)}}},
	}
	statement, err := sign.NewStatement(api.ReferenceType, values)
	if err != nil {
		return nil, err
	}
	envelope, err := sign.Seal(statement, by...)
	if err != nil {
		return nil, err
	}
	return json.Marshal(envelope)
}

// endpoint is the site's broker or registry, as a configuration names it.
func (s *site) endpoint(url string) api.Endpoint {
	return api.Endpoint{URL: url, CA: string(s.ring.CertificatePEM(keys.TLS))}
}

// authorised is a configuration that the broker's administrator allowed to
// have resources. Name tells it from others.
func (s *site) authorised(ctx context.Context, name string, resources ...string) ([]byte, error) {
	document, err := s.document(name)
	if err != nil {
		return nil, err
	}
	return document, s.admin.Allow(ctx, string(oci.SHA256(document)), resources)
}

// document is a configuration that nobody has authorised.
func (s *site) document(name string) ([]byte, error) {
	return wiring.InitData(api.GuestConfig{
		Image:    "registry.example/" + name + "@" + string(oci.SHA256(nil)),
		Registry: s.endpoint(s.services.RegistryURL()), Broker: s.endpoint(s.services.BrokerURL()),
	})
}

// audit returns what the broker's log says of machines.
func (s *site) audit(ctx context.Context) ([]api.AuditEntry, error) { return readAudit(ctx, s.admin) }

func readAudit(ctx context.Context, broker *admin.Client) ([]api.AuditEntry, error) {
	list, err := broker.Decisions(ctx)
	isAdministrators := func(e api.AuditEntry) bool { return e.Actor != "" }
	return slices.DeleteFunc(list, isAdministrators), err
}

// What a broker can refuse: a machine, or what a proven machine asks for.
var (
	proving = []string{"auth", "attest"}
	getting = []string{"get-resource"}
)

// decided runs ask and says how the broker decided: what it told the machine
// must stand in its audit log, too, as a decision of one of these kinds.
func (s *site) decided(ctx context.Context, kinds []string, ask func() (value []byte, err error)) (Refusal, error) {
	before, err := s.audit(ctx)
	if err != nil {
		return Refusal{}, err
	}
	value, told := ask()
	if told == nil {
		return Broke("the broker released %q", value), nil
	}
	log, err := s.audit(ctx)
	if err != nil {
		return Refusal{}, err
	}
	var problem *kbc.Problem
	if !errors.As(told, &problem) {
		return Refusal{}, fmt.Errorf("the broker did not answer: %w", told)
	}
	if len(log) == len(before) { // it does not record what it did not have to decide
		return Refusal{Broker, problem.Detail}, nil
	}
	last := log[len(log)-1]
	reasons := strings.Join(last.Reasons, "; ")
	if last.Decision != api.AuditRefuse || !strings.Contains(problem.Detail, last.Reasons[0]) {
		return Refusal{}, fmt.Errorf("the broker said %q and recorded %s: %s", problem.Detail, last.Decision, reasons)
	}
	if !slices.Contains(kinds, last.Action) {
		return Broke("it went as far as %s, where the broker said: %s", last.Action, reasons), nil
	}
	if last.Action != "get-resource" && last.Offered == "" {
		return Refusal{}, fmt.Errorf("the broker did not record whose TPM it refused: %s", reasons)
	}
	return Refusal{Broker, reasons}, nil
}
