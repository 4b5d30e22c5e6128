// Package sealtest seals for tests, under one key for all of them, so that those
// of several processes can share what they keep. It keeps nothing secret.
package sealtest

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
)

// A Sealer binds what it seals to its name.
type Sealer struct{ aead cipher.AEAD }

// New returns the Sealer.
func New() Sealer {
	block, err := aes.NewCipher(bytes.Repeat([]byte("k"), 32))
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return Sealer{aead}
}

// Seal never fails.
func (s Sealer) Seal(_ context.Context, name string, plain []byte) ([]byte, error) {
	return s.aead.Seal(nil, nil, plain, []byte(name)), nil
}

// Open opens what Seal sealed under the same name.
func (s Sealer) Open(_ context.Context, name string, sealed []byte) ([]byte, error) {
	return s.aead.Open(nil, nil, sealed, []byte(name))
}
