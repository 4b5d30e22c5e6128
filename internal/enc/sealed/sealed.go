// Package sealed makes and opens the sealed secrets of Confidential Containers:
// a signed text that may stand where a secret is wanted, in a public
// configuration for one, and which only a machine that a broker trusts can
// turn into the secret.
//
// A vault secret names a broker's resource; an envelope has the secret in it,
// encrypted under a key that is one. Nothing of a sealed secret is used before
// its signature was found good, and the key that it is checked with is a
// broker's resource too, so that the broker's policy decides who may sign.
//
// Format: docs/formats/sealed-secret.md.
package sealed

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"holdfast/internal/enc"
)

// Prefix begins every sealed secret.
const Prefix = "sealed."

// Version is the only one of the format.
const Version = "0.1.0"

// The types of secrets.
const (
	Vault    = "vault"
	Envelope = "envelope"
)

// MaxText bounds a sealed secret, in bytes.
const MaxText = 1 << 20

// Errors that a caller may branch on.
var (
	ErrFormat    = errors.New("malformed sealed secret")
	ErrSignature = errors.New("signature of the sealed secret does not verify")
)

// A Secret is what a sealed secret says, under the names that
// confidential-data-hub/hub/src/secret/layout gives it.
type Secret struct {
	Version  string `json:"version"`
	Type     string `json:"type"`
	Provider string `json:"provider"` // "kbs"

	Name string `json:"name,omitempty"` // vault: kbs:///REPOSITORY/TYPE/TAG

	KeyID    string `json:"key_id,omitempty"`         // envelope: kbs:///REPOSITORY/TYPE/TAG of 32 bytes
	Key      string `json:"encrypted_key,omitempty"`  // base64, under KeyID with the IV of Annotations
	Data     string `json:"encrypted_data,omitempty"` // base64, under the key
	WrapType string `json:"wrap_type,omitempty"`      // "A256GCM"
	IV       string `json:"iv,omitempty"`             // base64, of Data

	Settings    map[string]any `json:"provider_settings"`
	Annotations map[string]any `json:"annotations"`
}

// Is says whether a text is meant to be a sealed secret.
func Is(text string) bool { return strings.HasPrefix(text, Prefix) }

// Get gives the content of kbs:///REPOSITORY/TYPE/TAG.
type Get func(ctx context.Context, uri string) ([]byte, error)

// Unseal gives the secret that text stands for.
func Unseal(ctx context.Context, text string, get Get) ([]byte, error) {
	s, err := parse(text)
	if err != nil {
		return nil, err
	}
	if err := enc.CheckKID(s.header.KeyID); err != nil {
		return nil, fmt.Errorf("%w: kid: %w", ErrFormat, err)
	}
	jwk, err := get(ctx, s.header.KeyID)
	if err != nil {
		return nil, fmt.Errorf("fetch the key that signed: %w", err)
	}
	key, err := PublicKey(jwk)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.header.KeyID, err)
	}
	secret, err := s.verify(key)
	if err != nil {
		return nil, err
	}
	return secret.open(ctx, get)
}

// Check refuses what no machine could open.
func (s Secret) Check() error {
	var resource string
	switch {
	case s.Version != Version:
		return fmt.Errorf("%w: version is %.20q, want %s", ErrFormat, s.Version, Version)
	case s.Provider != "kbs":
		return fmt.Errorf("%w: provider is %.20q, want kbs", ErrFormat, s.Provider)
	case len(s.Settings) > 0:
		return fmt.Errorf("%w: provider kbs has no settings", ErrFormat)
	case s.Type == Vault:
		resource = s.Name
	case s.Type == Envelope && s.WrapType != enc.WrapA256GCM:
		return fmt.Errorf("%w: wrap type is %.20q, want %s", ErrFormat, s.WrapType, enc.WrapA256GCM)
	case s.Type == Envelope:
		resource = s.KeyID
	default:
		return fmt.Errorf("%w: type is %.20q, want vault or envelope", ErrFormat, s.Type)
	}
	if err := enc.CheckKID(resource); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return nil
}

// open fetches a vault secret, and decrypts an envelope.
func (s Secret) open(ctx context.Context, get Get) ([]byte, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if s.Type == Vault {
		return get(ctx, s.Name)
	}
	kek, err := get(ctx, s.KeyID)
	if err != nil {
		return nil, err
	}
	defer clear(kek)
	return s.decrypt(kek)
}

// Resources lists what whoever unseals text has to be given, of which nothing is
// proved: the signature is for the machine to check.
func Resources(text string) ([]string, error) {
	s, err := parse(text)
	if err != nil {
		return nil, err
	}
	secret, err := s.read()
	if err == nil {
		err = secret.Check()
	}
	if err == nil {
		err = enc.CheckKID(s.header.KeyID)
	}
	if err != nil {
		return nil, err
	}
	if secret.Type == Vault {
		return []string{s.header.KeyID, secret.Name}, nil
	}
	return []string{s.header.KeyID, secret.KeyID}, nil
}
