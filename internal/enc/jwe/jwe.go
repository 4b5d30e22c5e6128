// Package jwe wraps layer keys for holders of a private key, as skopeo's
// "jwe:" recipients: RSA by RSA-OAEP, elliptic curves by ECDH-ES+A256KW, the
// content by A256GCM, the algorithms that all readers of the format share.
//
// It is apart from package enc so that a guest, which asks a broker, does not
// link it.
package jwe

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"holdfast/internal/enc"
)

// keyAlgorithms are those that ocicrypt accepts.
var keyAlgorithms = []jose.KeyAlgorithm{
	jose.RSA_OAEP, jose.RSA_OAEP_256,
	jose.ECDH_ES_A128KW, jose.ECDH_ES_A192KW, jose.ECDH_ES_A256KW,
}

var contentAlgorithms = []jose.ContentEncryption{jose.A256GCM, jose.A128GCM, jose.A192GCM}

// ErrNoPrivateKey says that the bytes hold no private key in a known form.
var ErrNoPrivateKey = errors.New("no private key: want PEM (PKCS #8, PKCS #1, SEC 1) or a JWK, without passphrase")

// ErrNoPublicKey says that the bytes hold no public key in a known form.
var ErrNoPublicKey = errors.New("no public key: want PEM (PUBLIC KEY or CERTIFICATE) or a JWK")

// Recipient reads a public key, RSA of 2048 bits or more or NIST-curve.
func Recipient(public []byte) (enc.Recipient, error) {
	key, err := parsePublic(public)
	if err != nil {
		return nil, err
	}
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return nil, fmt.Errorf("RSA key has %d bits, want 2048 or more", k.N.BitLen())
		}
		return recipient{jose.Recipient{Algorithm: jose.RSA_OAEP, Key: k}}, nil
	case *ecdsa.PublicKey:
		return recipient{jose.Recipient{Algorithm: jose.ECDH_ES_A256KW, Key: k}}, nil
	}
	return nil, fmt.Errorf("public key is %T, want RSA or ECDSA", key)
}

func parsePublic(b []byte) (any, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		var jwk jose.JSONWebKey
		if json.Unmarshal(b, &jwk) != nil || !jwk.IsPublic() {
			return nil, ErrNoPublicKey
		}
		return jwk.Key, nil
	}
	if block.Type == "CERTIFICATE" {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		return cert.PublicKey, nil
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, ErrNoPublicKey
	}
	return key, nil
}

type recipient struct{ to jose.Recipient }

func (r recipient) Wrap(options []byte) (string, []byte, error) {
	encrypter, err := jose.NewEncrypter(jose.A256GCM, r.to, nil)
	if err != nil {
		return "", nil, err
	}
	message, err := encrypter.Encrypt(options)
	if err != nil {
		return "", nil, err
	}
	return enc.AnnotationJWE, []byte(message.FullSerialize()), nil
}

// Key reads a private key.
func Key(private []byte) (enc.Key, error) {
	k, err := parsePrivate(private)
	if err != nil {
		return nil, err
	}
	return key{k}, nil
}

func parsePrivate(b []byte) (any, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		var jwk jose.JSONWebKey
		if json.Unmarshal(b, &jwk) != nil || jwk.IsPublic() || !jwk.Valid() {
			return nil, ErrNoPrivateKey
		}
		return jwk.Key, nil
	}
	if k, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		return k, nil
	}
	if k, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return k, nil
	}
	if k, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return k, nil
	}
	return nil, ErrNoPrivateKey
}

type key struct{ private any }

func (key) Annotation() string { return enc.AnnotationJWE }

func (k key) Unwrap(_ context.Context, packet []byte) ([]byte, error) {
	message, err := jose.ParseEncrypted(string(packet), keyAlgorithms, contentAlgorithms)
	if err != nil {
		return nil, fmt.Errorf("%w: JWE: %v", enc.ErrFormat, err)
	}
	_, _, options, err := message.DecryptMulti(k.private)
	if err != nil {
		return nil, errors.New("JWE: wrapped for another key, or altered")
	}
	return options, nil
}
