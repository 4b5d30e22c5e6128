package sealed

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"fmt"

	"holdfast/internal/enc"
)

const keySize = 32

// annotationIV is where an envelope has the nonce that its key was encrypted
// with, as the envelopes of the guest components' other providers have it.
const annotationIV = "iv"

// NewEnvelope encrypts a secret under a key of its own, and that under kek, the
// 32 bytes of the resource keyID.
func NewEnvelope(secret []byte, keyID string, kek []byte) (Secret, error) {
	key := make([]byte, keySize)
	if _, err := rand.Read(key); err != nil {
		return Secret{}, err
	}
	defer clear(key)
	wrapped, keyIV, err := encrypt(kek, key)
	if err != nil {
		return Secret{}, fmt.Errorf("%s: %w", keyID, err)
	}
	data, iv, err := encrypt(key, secret)
	if err != nil {
		return Secret{}, err
	}
	return Secret{
		Version: Version, Type: Envelope, Provider: "kbs", KeyID: keyID, Key: wrapped, Data: data,
		WrapType: enc.WrapA256GCM, IV: iv, Annotations: map[string]any{annotationIV: keyIV},
	}, nil
}

// NewVault points to a resource.
func NewVault(resource string) Secret {
	return Secret{Version: Version, Type: Vault, Provider: "kbs", Name: resource}
}

func (s Secret) decrypt(kek []byte) ([]byte, error) {
	keyIV, _ := s.Annotations[annotationIV].(string)
	key, err := decrypt(kek, s.Key, keyIV)
	if err != nil {
		return nil, fmt.Errorf("envelope's key, by %s: %w", s.KeyID, err)
	}
	defer clear(key)
	secret, err := decrypt(key, s.Data, s.IV)
	if err != nil {
		return nil, fmt.Errorf("envelope's data: %w", err)
	}
	return secret, nil
}

func encrypt(key, plain []byte) (data, iv string, err error) {
	aead, err := newGCM(key)
	if err != nil {
		return "", "", err
	}
	nonce := make([]byte, aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return "", "", err
	}
	b64 := base64.StdEncoding.EncodeToString
	return b64(aead.Seal(nil, nonce, plain, nil)), b64(nonce), nil
}

func decrypt(key []byte, data, iv string) ([]byte, error) {
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	sealed, err := base64.StdEncoding.Strict().DecodeString(data)
	if err != nil {
		return nil, fmt.Errorf("%w: want base64", ErrFormat)
	}
	nonce, err := base64.StdEncoding.Strict().DecodeString(iv)
	if err != nil || len(nonce) != aead.NonceSize() {
		return nil, fmt.Errorf("%w: iv: want base64 of %d bytes", ErrFormat, aead.NonceSize())
	}
	plain, err := aead.Open(nil, nonce, sealed, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: it was encrypted by another key, or altered", ErrFormat)
	}
	return plain, nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	if len(key) != keySize {
		return nil, fmt.Errorf("key has %d bytes, want %d", len(key), keySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
