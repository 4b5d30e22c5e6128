package wiring

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"

	"github.com/google/go-tpm/tpm2/transport"

	"holdfast/internal/attest/tpm"
	"holdfast/internal/broker"
	"holdfast/internal/ca"
	"holdfast/internal/hsm"
	"holdfast/internal/seal"
	sealtpm "holdfast/internal/seal/tpm"
)

// A vault is what the broker's secrets rest on.
type vault struct {
	sealer *seal.Sealer
	ring   *seal.Ring
	hsm    *hsm.Client // nil when none is configured
	ca     *ca.Folder
}

// Masters is the folder of master keys.
func (i Installation) Masters() string { return filepath.Join(i.Keys(), "master") }

// openVault opens the master keys; the first time, it makes one. The keys of
// the installation must be there.
func (i Installation) openVault(ctx context.Context, log *slog.Logger) (_ *vault, err error) {
	v := &vault{}
	if v.hsm, err = i.openHSM(log); err != nil {
		return nil, err
	}
	providers := map[string]seal.Provider{sealtpm.Kind: sealtpm.Masters(sealtpm.Config{
		Open: func(context.Context) (transport.TPMCloser, error) { return tpm.Open(tpm.Device) },
	})}
	authorities := ca.Config{Dir: filepath.Join(i.Keys(), "ca")}
	if v.hsm != nil {
		providers[hsm.MasterKind] = v.hsm.Masters()
		authorities.HSM = signing{v.hsm}
	}
	if v.ca, err = ca.New(authorities); err != nil {
		return nil, err
	}
	if v.ring, err = seal.OpenRing(ctx, seal.RingConfig{Dir: i.Masters(), Providers: providers}); err != nil {
		return nil, err
	}
	v.sealer = seal.New(v.ring)
	return v, nil
}

// Close wipes all keys.
func (v *vault) Close() error {
	problems := []error{v.sealer.Close(), v.ring.Close()}
	if v.hsm != nil {
		problems = append(problems, v.hsm.Close())
	}
	return errors.Join(problems...)
}

func (v *vault) plugins() []broker.Plugin {
	all := []broker.Plugin{spiffePlugin{v.ca}}
	if v.hsm != nil {
		all = append(all, hsmPlugin{v.hsm})
	}
	return all
}
