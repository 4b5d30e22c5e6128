package wiring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"holdfast/internal/ca"
	"holdfast/internal/seal"
)

// A NewMaster is what RotateMaster made.
type NewMaster struct {
	ID       seal.ID `json:"id"`
	Kind     string  `json:"kind"`
	Resealed int     `json:"resealed"` // resources that are under it now
}

// RotateMaster makes a master key of a kind and seals every resource under it.
// Brokers that are served meanwhile read and write as before.
func (i Installation) RotateMaster(ctx context.Context, kind string, options json.RawMessage) (_ *NewMaster, err error) {
	kept, err := i.openState(nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, kept.Close()) }()
	made := &NewMaster{Kind: kind}
	if made.ID, err = kept.vault.ring.Rotate(ctx, kind, options); err != nil {
		return nil, err
	}
	err = kept.Reseal(ctx, func(name string, sealed []byte) ([]byte, error) {
		made.Resealed++
		return kept.vault.reseal(ctx, name, sealed)
	})
	if err != nil {
		return made, fmt.Errorf("master %s is in use, but what was sealed before is still under the earlier ones: %w", made.ID, err)
	}
	return made, nil
}

func (v *vault) reseal(ctx context.Context, name string, sealed []byte) ([]byte, error) {
	plain, err := v.sealer.Open(ctx, name, sealed)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	return v.sealer.Seal(ctx, name, plain)
}

// RotateCA makes the next certificate authority.
func (i Installation) RotateCA(ctx context.Context, r ca.Rotation) (_ *ca.Made, err error) {
	v, err := i.openVault(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	return v.ca.Rotate(ctx, r)
}
