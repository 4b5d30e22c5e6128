package cosign

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // for crypto.SHA384 and SHA512
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
)

// minRSA is the fewest bits of an RSA key that is believed.
const minRSA = 2048

// A Key is a public key that signatures are checked with: Ed25519, ECDSA over
// P-256, P-384 or P-521, or RSA.
type Key struct {
	public crypto.PublicKey
	sum    [sha256.Size]byte // of the SubjectPublicKeyInfo
}

// NewKey takes a public key of the standard library's.
func NewKey(public crypto.PublicKey) (Key, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return Key{}, err
	}
	switch k := public.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSA {
			return Key{}, fmt.Errorf("RSA key of %d bits: want %d at least", k.N.BitLen(), minRSA)
		}
	case *ecdsa.PublicKey:
		if len(hashes[k.Params().Name]) == 0 {
			return Key{}, fmt.Errorf("key on the curve %s: want P-256, P-384 or P-521", k.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		return Key{}, fmt.Errorf("key is %T: want Ed25519, ECDSA or RSA", public)
	}
	return Key{public, sha256.Sum256(der)}, nil
}

// ParseKeys reads PEM blocks of type PUBLIC KEY, one at least and nothing else.
func ParseKeys(raw []byte) ([]Key, error) {
	var list []Key
	rest := bytes.TrimSpace(raw)
	for len(rest) > 0 {
		block, after := pem.Decode(rest)
		if block == nil || !bytes.HasPrefix(rest, []byte("-----BEGIN")) {
			return nil, errors.New(`want PEM blocks "PUBLIC KEY" and nothing else`)
		}
		if block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf(`PEM block %.40q: want "PUBLIC KEY"`, block.Type)
		}
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("public key: %w", err)
		}
		k, err := NewKey(public)
		if err != nil {
			return nil, err
		}
		list, rest = append(list, k), bytes.TrimSpace(after)
	}
	if len(list) == 0 {
		return nil, errors.New(`is empty, want a PEM block "PUBLIC KEY"`)
	}
	return list, nil
}

// PEM is the key as ParseKeys reads it.
func (k Key) PEM() []byte {
	der, err := x509.MarshalPKIXPublicKey(k.public)
	if err != nil {
		return nil // NewKey has done the same
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// ID is the SHA-256 of the SubjectPublicKeyInfo in hex, as sign.KeyID has it.
func (k Key) ID() string { return hex.EncodeToString(k.sum[:]) }

// hint is how cosign points at the key in a bundle.
func (k Key) hint() string { return base64.StdEncoding.EncodeToString(k.sum[:]) }

// hashes are those that cosign's versions sign with on each curve, and with RSA.
var hashes = map[string][]crypto.Hash{
	"P-256": {crypto.SHA256},
	"P-384": {crypto.SHA384, crypto.SHA256},
	"P-521": {crypto.SHA512, crypto.SHA256},
	"RSA":   {crypto.SHA256},
}

// Verify says whether the key's owner signed the message.
func (k Key) Verify(message, sig []byte) bool {
	switch public := k.public.(type) {
	case ed25519.PublicKey:
		return verifyEd25519(public, message, sig)
	case *ecdsa.PublicKey:
		return anyHash(public.Params().Name, message, func(_ crypto.Hash, sum []byte) bool {
			return ecdsa.VerifyASN1(public, sum, sig)
		})
	case *rsa.PublicKey:
		return anyHash("RSA", message, func(h crypto.Hash, sum []byte) bool {
			return rsa.VerifyPKCS1v15(public, h, sum, sig) == nil
		})
	}
	return false
}

func anyHash(of string, message []byte, verify func(crypto.Hash, []byte) bool) bool {
	for _, h := range hashes[of] {
		sum := h.New()
		sum.Write(message)
		if verify(h, sum.Sum(nil)) {
			return true
		}
	}
	return false
}

// verifyEd25519 takes Ed25519 as it is, which cosign verifies, and Ed25519ph
// (RFC 8032, 5.1), which cosign signs with. Their domains are apart.
func verifyEd25519(public ed25519.PublicKey, message, sig []byte) bool {
	if ed25519.Verify(public, message, sig) {
		return true
	}
	h := crypto.SHA512.New()
	h.Write(message)
	return ed25519.VerifyWithOptions(public, h.Sum(nil), sig, &ed25519.Options{Hash: crypto.SHA512}) == nil
}
