package roles

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
)

// ParsePrivate reads an administrator's own key: PEM of PKCS #8, as openssl
// genpkey writes it, or of SEC 1.
func ParsePrivate(text []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(text)
	if block == nil || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, errors.New("want one PEM block of type PRIVATE KEY")
	}
	var key any
	var err error
	if block.Type == "EC PRIVATE KEY" {
		key, err = x509.ParseECPrivateKey(block.Bytes)
	} else {
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, errors.New("want a private key (PKCS #8) in PEM, without a passphrase")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("want an Ed25519 or ECDSA P-256 key")
	}
	_, err = checked(signer.Public())
	return signer, err
}

// NewKey makes a key for an administrator, in PEM.
func NewKey() (private []byte, public crypto.PublicKey, err error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), public, err
}
