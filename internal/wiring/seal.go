package wiring

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"holdfast/internal/atomicfile"
	"holdfast/internal/broker/admin"
	"holdfast/internal/enc"
	"holdfast/internal/enc/sealed"
	"holdfast/internal/input"
)

// A Sealing says which secret to seal, and who signs.
type Sealing struct {
	// Resource is the kbs:/// resource that a vault secret points to. When it is
	// empty, Secret is sealed in an envelope, under a new key at the broker.
	Resource string
	Secret   []byte
	// Key is a private JWK and KeyID the kbs:/// resource of its public half.
	// Without them the installation's own key signs, and the broker is given its
	// public half.
	Key   []byte
	KeyID string
}

// A Sealed secret, and what whoever unseals it must be allowed to have.
type Sealed struct {
	Text      string   `json:"sealed"`
	Resources []string `json:"resources"`
}

// Seal makes a sealed secret.
func (i Installation) Seal(ctx context.Context, broker *admin.Client, s Sealing) (*Sealed, error) {
	key, kid, err := i.sealingKey(ctx, broker, s)
	if err != nil {
		return nil, err
	}
	secret := sealed.NewVault(s.Resource)
	if s.Resource == "" {
		if secret, err = envelope(ctx, broker, s.Secret); err != nil {
			return nil, err
		}
	}
	text, err := sealed.Seal(secret, kid, key)
	if err != nil {
		return nil, errors.Join(err, forget(context.WithoutCancel(ctx), broker, made(secret)))
	}
	resources, err := sealed.Resources(text)
	return &Sealed{text, resources}, err
}

// made lists the resources that sealing made at the broker.
func made(s sealed.Secret) []string {
	if s.Type == sealed.Envelope {
		return []string{s.KeyID}
	}
	return nil
}

// envelope is under a key of its own, so that one released to a machine opens
// one secret.
func envelope(ctx context.Context, broker *admin.Client, secret []byte) (sealed.Secret, error) {
	name := "default/envelope-key/" + strings.ToLower(rand.Text()[:12])
	kek, err := newKEK(ctx, broker, name)
	if err != nil {
		return sealed.Secret{}, err
	}
	defer clear(kek)
	return sealed.NewEnvelope(secret, kbsScheme+name, kek)
}

// sealingKey is the key that signs, and the resource of its public half.
func (i Installation) sealingKey(ctx context.Context, broker *admin.Client, s Sealing) (*ecdsa.PrivateKey, string, error) {
	if s.Key != nil {
		if err := enc.CheckKID(s.KeyID); err != nil {
			return nil, "", err
		}
		key, err := sealed.PrivateKey(s.Key)
		return key, s.KeyID, err
	}
	key, err := i.ownSealingKey(ctx)
	if err != nil {
		return nil, "", err
	}
	public, err := sealed.MarshalJWK(key, false)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(public)
	name := "default/sealing-key/" + hex.EncodeToString(sum[:8])
	if err := broker.CreateResource(ctx, name, public); err != nil && !errors.Is(err, admin.ErrExist) {
		return nil, "", fmt.Errorf("give the broker the key that signs: %w", err)
	}
	return key, kbsScheme + name, nil
}

// ownSealingKey is made when it is first needed.
func (i Installation) ownSealingKey(ctx context.Context) (*ecdsa.PrivateKey, error) {
	unlock, err := atomicfile.Lock(ctx, i.Lock("sealing"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	file := filepath.Join(i.Keys(), "sealing.jwk")
	raw, err := input.ReadFile(file, input.Key)
	if err == nil {
		return sealed.PrivateKey(raw)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if raw, err = sealed.MarshalJWK(key, true); err != nil {
		return nil, err
	}
	return key, atomicfile.WriteFile(file, append(raw, '\n'), 0o600)
}
