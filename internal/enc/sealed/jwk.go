package sealed

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"holdfast/internal/input"
)

// A jwk is a key as RFC 7517 and RFC 7518, 6.2, write it.
type jwk struct {
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	Alg string `json:"alg,omitempty"`
	Use string `json:"use,omitempty"`
	Kid string `json:"kid,omitempty"`
	X   string `json:"x"`
	Y   string `json:"y"`
	D   string `json:"d,omitempty"`
}

var errJWK = errors.New("want a JWK of an EC key on P-256")

func readJWK(raw []byte) (k jwk, point []byte, err error) {
	if err := input.JSON(raw, &k); err != nil {
		return k, nil, fmt.Errorf("key that signs: %w", err)
	}
	x, errX := decode(k.X)
	y, errY := decode(k.Y)
	fits := k.Kty == "EC" && k.Crv == "P-256" && (k.Alg == "" || k.Alg == "ES256") && (k.Use == "" || k.Use == "sig")
	if !fits || errX != nil || errY != nil || len(x) != 32 || len(y) != 32 {
		return k, nil, fmt.Errorf("key that signs: %w", errJWK)
	}
	return k, append(append([]byte{4}, x...), y...), nil
}

// PublicKey reads a JWK, whose private half it ignores.
func PublicKey(raw []byte) (*ecdsa.PublicKey, error) {
	_, point, err := readJWK(raw)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, fmt.Errorf("key that signs: %w: %w", errJWK, err)
	}
	return key, nil
}

// PrivateKey reads a JWK with its private half.
func PrivateKey(raw []byte) (*ecdsa.PrivateKey, error) {
	k, _, err := readJWK(raw)
	if err != nil {
		return nil, err
	}
	public, err := PublicKey(raw)
	if err != nil {
		return nil, err
	}
	d, err := decode(k.D)
	if err != nil || k.D == "" {
		return nil, errors.New("key that signs: the JWK has no private half")
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
	if err != nil || !key.PublicKey.Equal(public) {
		return nil, errors.New("key that signs: the halves of the JWK do not belong together")
	}
	return key, nil
}

// MarshalJWK writes a key's public half, or both.
func MarshalJWK(key *ecdsa.PrivateKey, private bool) ([]byte, error) {
	point, err := key.PublicKey.Bytes()
	if err != nil || key.Curve != elliptic.P256() {
		return nil, errors.Join(errJWK, err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	k := jwk{Kty: "EC", Crv: "P-256", Alg: "ES256", Use: "sig", X: b64(point[1:33]), Y: b64(point[33:])}
	if private {
		d, err := key.Bytes()
		if err != nil {
			return nil, err
		}
		k.D = b64(d)
	}
	return json.Marshal(k)
}
