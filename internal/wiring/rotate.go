package wiring

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"holdfast/internal/broker"
	"holdfast/internal/follow"
	"holdfast/internal/keys"
)

// tokenGrace is how long the tokens of a key that was replaced may be about:
// their life, and as long again for clocks and for brokers that look once a
// second whether the key is another.
const tokenGrace = 2 * broker.TokenLife

// followTokenKeys reads the token keys of the ring in dir, and those that were
// replaced, again when they change.
func followTokenKeys(dir string, log *slog.Logger) (*follow.File[broker.TokenKeys], error) {
	return follow.Open(follow.Config[broker.TokenKeys]{Log: log, Read: func() (broker.TokenKeys, []string, error) {
		all, err := readTokenKeys(dir)
		return all, keys.TokenFiles(dir), err
	}})
}

func readTokenKeys(dir string) (broker.TokenKeys, error) {
	pair, err := keys.ReadToken(dir)
	if err != nil {
		return broker.TokenKeys{}, err
	}
	all := broker.TokenKeys{Current: broker.TokenKey{Signer: pair.Key, Chain: []*x509.Certificate{pair.Certificate}}}
	retired, err := keys.Retired(dir)
	for _, r := range retired {
		if public, ok := r.Certificate.PublicKey.(*ecdsa.PublicKey); ok && !public.Equal(pair.Key.Public()) {
			all.Retired = append(all.Retired, broker.RetiredKey{Public: public, Until: r.At.Add(tokenGrace)})
		}
	}
	return all, err
}

// A Rotation is what RotateToken did.
type Rotation struct {
	Key  string    `json:"key"` // the new one's ID (kid) in tokens
	Live time.Time `json:"old_tokens_until"`
}

// RotateToken gives the broker a new key for tokens. Tokens of the old one
// stay good as long as they would have; brokers that are being served use the
// new one within a second.
func (i Installation) RotateToken(ctx context.Context) (*Rotation, error) {
	now := time.Now()
	ring, err := keys.Rotate(ctx, i.Keys(), now, now.Add(-tokenGrace))
	if err != nil {
		return nil, err
	}
	id, err := broker.KeyID(ring.Pair(keys.Token).Key.Public())
	if err != nil {
		return nil, err
	}
	b, kept, err := i.newBroker(ring, TPMTrust{}, EvidenceConfig{}, nil)
	if err == nil {
		err = errors.Join(b.RecordRotation(ctx, "cli", "token "+id), kept.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("the key was replaced, but no record of it could be made: %w", err)
	}
	return &Rotation{Key: id, Live: now.Add(tokenGrace).UTC().Truncate(time.Second)}, nil
}
