package machine

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest/kbc"
	"holdfast/internal/attest/svid"
	"holdfast/internal/node"
	"holdfast/internal/supervise"
)

// An identified machine has a certificate of the broker's, and services that
// want to know when it is another one.
type identified struct {
	mu       sync.Mutex
	services *supervise.Supervisor // nil before there are any; guarded by mu
}

// identify gets the machine's certificate before anything of it could use one,
// and keeps it good for as long as the machine lives.
func (d *identified) identify(ctx context.Context, hardware *lateHardware, i node.Identification) (text string, err error) {
	attester, err := hardware.open()
	if err != nil {
		return "", err
	}
	broker, err := newBroker(attester, i.Config.Broker, i.Document, silence)
	if err != nil {
		return "", err
	}
	log := slog.New(&consoleLog{say: i.Log, name: "identity"})
	keeper := svid.Keeper{Dir: api.IdentityDir, Log: log, Renewed: func() { d.reload(i.Config.Identity.Reload, log) },
		Certify: func(ctx context.Context, request []byte) (*kbc.Certificate, error) {
			return broker.Certify(ctx, i.Config.Identity.Resource, request)
		}}
	if keeper.UID, keeper.GID, err = i.Config.Identity.IDs(); err != nil {
		return "", err
	}
	first, err := keeper.Obtain(ctx)
	if err != nil {
		broker.Close()
		return "", err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); keeper.Keep(ctx, first) }()
	i.AtEnd(func() { cancel(); <-ended; broker.Close() })
	return fmt.Sprintf("certified as %s until %s", first.ID, first.Expires.UTC().Format(time.RFC3339)), nil
}

// serve names the services that may be told.
func (d *identified) serve(s *supervise.Supervisor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.services = s
}

func (d *identified) reload(names []string, log *slog.Logger) {
	d.mu.Lock()
	services := d.services
	d.mu.Unlock()
	log.Warn("the certificate was renewed")
	for _, name := range names {
		if services == nil {
			return
		}
		if err := services.Reload(name); err != nil {
			log.Warn("a service is not told of the new certificate", "because", err)
		}
	}
}
