package wiring

import (
	"context"
	"errors"
	"path/filepath"

	"holdfast/internal/seal"
)

// A Sealer seals what the broker keeps, under the installation's master keys.
type Sealer struct {
	*seal.Sealer
	Ring *seal.Ring
}

// Masters is the folder of master keys.
func (i Installation) Masters() string { return filepath.Join(i.Keys(), "master") }

// Sealer opens the master keys; the first time, it makes one. The keys of the
// installation must be there.
func (i Installation) Sealer(ctx context.Context) (*Sealer, error) {
	ring, err := seal.OpenRing(ctx, seal.RingConfig{Dir: i.Masters()})
	if err != nil {
		return nil, err
	}
	return &Sealer{seal.New(ring), ring}, nil
}

// Close wipes all keys.
func (s *Sealer) Close() error { return errors.Join(s.Sealer.Close(), s.Ring.Close()) }
