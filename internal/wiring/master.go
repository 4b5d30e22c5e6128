package wiring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"holdfast/internal/broker"
	"holdfast/internal/ca"
	"holdfast/internal/seal"
)

// A NewMaster is what RotateMaster made.
type NewMaster struct {
	ID       seal.ID     `json:"id"`
	Kind     string      `json:"kind"`
	Resealed int         `json:"resealed"` // resources that are under it now
	Earlier  []MasterUse `json:"earlier"`
}

// A MasterUse says how many resources rest on a master. One that none rests on
// may go, as far as it is not for backups.
type MasterUse struct {
	ID        seal.ID `json:"id"`
	Kind      string  `json:"kind"`
	Resources int     `json:"resources"`
}

// RotateMaster makes a master key of a kind and seals every resource under it.
// Brokers that are served meanwhile read and write as before.
func (i Installation) RotateMaster(ctx context.Context, kind string, options json.RawMessage) (_ *NewMaster, err error) {
	b, kept, err := i.ownBroker(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, kept.Close()) }()
	made := &NewMaster{Kind: kind}
	if made.ID, err = kept.vault.ring.Rotate(ctx, kind, options); err != nil {
		return nil, err
	}
	if err := b.RecordRotation(ctx, "cli", fmt.Sprintf("master %s (%s)", made.ID, kind)); err != nil {
		return made, fmt.Errorf("master %s is in use, but no record of it could be made: %w", made.ID, err)
	}
	err = kept.Reseal(ctx, func(name string, sealed []byte) ([]byte, error) {
		made.Resealed++
		return kept.vault.reseal(ctx, name, sealed)
	})
	if err != nil {
		return made, fmt.Errorf("master %s is in use, but what was sealed before is still under the earlier ones: %w", made.ID, err)
	}
	all, err := kept.masters(ctx)
	made.Earlier = slices.DeleteFunc(all, func(m MasterUse) bool { return m.ID == made.ID })
	return made, err
}

// ownBroker is the installation's, for what no administrator can ask for.
func (i Installation) ownBroker(ctx context.Context) (*broker.Broker, *brokerState, error) {
	ring, err := i.Ring(ctx)
	if err != nil {
		return nil, nil, err
	}
	return i.newBroker(ring, TPMTrust{}, EvidenceConfig{}, nil)
}

// masters tells what rests on each master that is here. What a broker was about
// to write when the current one came may rest on the one before.
func (s *brokerState) masters(ctx context.Context) ([]MasterUse, error) {
	records, err := s.vault.ring.Records()
	if err != nil {
		return nil, err
	}
	count := map[seal.ID]int{}
	err = s.EachSealed(ctx, func(_ string, sealed []byte) error {
		id, err := seal.MasterOf(sealed)
		count[id]++
		return err
	})
	all := make([]MasterUse, len(records))
	for i, r := range records {
		all[i] = MasterUse{ID: r.ID, Kind: r.Kind, Resources: count[r.ID]}
	}
	return all, err
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
	b, kept, err := i.ownBroker(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, kept.Close()) }()
	made, err := kept.vault.ca.Rotate(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := b.RecordRotation(ctx, "cli", fmt.Sprintf("authority %s of %s", made.ID, made.Domain)); err != nil {
		return made, fmt.Errorf("authority %s was made, but no record of it could be: %w", made.ID, err)
	}
	return made, nil
}
