// Package did names actors by their keys: decentralized identifiers of the
// method did:key.
//
// An identifier is the public key itself, so whoever reads it needs no
// registry to check a signature, and two that differ are two actors.
// https://w3c-ccg.github.io/did-method-key/
package did

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"strings"

	"github.com/mr-tron/base58"
)

const prefix = "did:key:z" // z: base58btc, of the multibase table

// ed25519Pub is multicodec ed25519-pub, 0xed, as a varint.
var ed25519Pub = []byte{0xed, 0x01}

// longest bounds what is decoded: base58 takes time squared in its length.
const longest = 64

// Key is the identifier of the holder of key.
func Key(key ed25519.PublicKey) string {
	return prefix + base58.Encode(append(bytes.Clone(ed25519Pub), key...))
}

// ParseKey gives the key of an identifier that Key made.
func ParseKey(s string) (ed25519.PublicKey, error) {
	encoded, ok := strings.CutPrefix(s, prefix)
	raw, err := []byte(nil), error(nil)
	if ok && len(encoded) <= longest {
		raw, err = base58.Decode(encoded)
	}
	key, ok := bytes.CutPrefix(raw, ed25519Pub)
	if err != nil || !ok || len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("identifier %.80q: want did:key:z6Mk… of an Ed25519 key", s)
	}
	return key, nil
}
