// Package wiring turns configuration into running parts. It is the only
// place that knows them all, so that no service has to know another.
package wiring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/keys"
	"holdfast/internal/sign"
)

// An Installation is the one folder that holds all state.
type Installation struct{ dir string }

// Open makes the folder when it is absent; only its owner may look inside.
func Open(dir string) (Installation, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Installation{}, err
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return Installation{}, fmt.Errorf("open state folder: %w", err)
	}
	return Installation{dir: abs}, nil
}

// The folders of an installation; docs/architecture.md tells what is in each.
func (i Installation) Dir() string              { return i.dir }
func (i Installation) Keys() string             { return filepath.Join(i.dir, "keys") }
func (i Installation) Cache() string            { return filepath.Join(i.dir, "cache") }
func (i Installation) Image(name string) string { return filepath.Join(i.dir, "images", name) }
func (i Installation) Registry() string         { return filepath.Join(i.dir, "registry") }
func (i Installation) Broker() string           { return filepath.Join(i.dir, "broker") }
func (i Installation) TPMAuthority() string     { return filepath.Join(i.dir, "tpm-ca") }
func (i Installation) Partial() string          { return filepath.Join(i.dir, "partial") } // blobs received in part
func (i Installation) accelFile() string        { return filepath.Join(i.dir, "accel.json") }
func (i Installation) Machine(name string) string {
	return filepath.Join(i.dir, "machines", name)
}

// Lock is the path of a lock for the piece of state called name.
func (i Installation) Lock(name string) string { return filepath.Join(i.dir, "."+name+".lock") }

// Ring opens the keys, making them first when there are none.
func (i Installation) Ring(ctx context.Context) (*keys.Ring, error) {
	ring, _, err := keys.OpenOrInit(ctx, i.Keys(), time.Now())
	if err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	return ring, nil
}

// signers are who signs statements: nobody when there are no keys.
func (i Installation) signers(ctx context.Context) ([]sign.Signer, error) {
	ring, err := keys.Open(ctx, i.Keys(), time.Now())
	if errors.Is(err, keys.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	return []sign.Signer{ring.Statements()}, nil
}
