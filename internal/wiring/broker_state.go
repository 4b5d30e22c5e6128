package wiring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"holdfast/internal/broker"
	"holdfast/internal/broker/state"
)

var _ broker.State = (*state.Store)(nil)

// A brokerState is what a broker keeps, and what that is sealed with.
type brokerState struct {
	*state.Store
	vault *vault
}

// Close closes the state before its keys go.
func (s *brokerState) Close() error { return errors.Join(s.Store.Close(), s.vault.Close()) }

// stateWait is how long the state may take to open: another process may be
// bringing it up to date.
const stateWait = time.Minute

// openState opens what the installation's broker keeps.
func (i Installation) openState(log *slog.Logger) (*brokerState, error) {
	ctx, stop := context.WithTimeout(context.Background(), stateWait)
	defer stop()
	if err := i.notLost(ctx); err != nil {
		return nil, fmt.Errorf("open the keys that seal resources: %w", err)
	}
	v, err := i.openVault(ctx, log)
	if err != nil {
		return nil, fmt.Errorf("open the keys that seal resources: %w", err)
	}
	store, err := state.Open(ctx, state.Config{Dir: i.Broker(), Sealer: v.sealer, Log: log})
	if err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return &brokerState{store, v}, nil
}
