package broker

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"

	"github.com/go-jose/go-jose/v4"
	josecipher "github.com/go-jose/go-jose/v4/cipher"
)

// The algorithms that guest-components' KBS client can undo
// (attestation-agent/kbs_protocol/src/keypair.rs) and that are still sound:
// RSA1_5 is left out.
const (
	algECDH = "ECDH-ES+A256KW"
	algRSA  = "RSA-OAEP-256"
	encGCM  = "A256GCM"
)

// A teeKey is a machine's ephemeral public key: TeePubKey of kbs-types, a JWK.
type teeKey struct {
	Kty string `json:"kty"`
	Alg string `json:"alg"`
	Crv string `json:"crv,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
	N   string `json:"n,omitempty"`
	E   string `json:"e,omitempty"`
}

// A sealed value is a JWE in flattened JSON serialization, RFC 7516 section
// 7.2.2: Response of kbs-types.
type sealed struct {
	Protected    string `json:"protected"`
	EncryptedKey string `json:"encrypted_key"`
	IV           string `json:"iv"`
	Ciphertext   string `json:"ciphertext"`
	Tag          string `json:"tag"`
}

// The protected header's fields stand in this very order: the client decodes
// the header, encodes it again and takes that as additional data
// (ProtectedHeader::generate_aad of kbs-types), so only the order of its own
// encoder, alg, enc, then the rest by name, makes the tag match. go-jose's
// encoder writes another order, which is why this file exists.
type header struct {
	Alg string        `json:"alg"`
	Enc string        `json:"enc"`
	EPK *ephemeralKey `json:"epk,omitempty"`
}

type ephemeralKey struct {
	Crv string `json:"crv"`
	Kty string `json:"kty"`
	X   string `json:"x"`
	Y   string `json:"y"`
}

func parseTEEKey(raw json.RawMessage) (*teeKey, error) {
	var k teeKey
	if err := exactly(raw, &k); err != nil {
		return nil, fmt.Errorf("tee-pubkey: %w", err)
	}
	// A bad key is found before the machine is trusted.
	if err := k.check(); err != nil {
		return nil, fmt.Errorf("tee-pubkey: %w", err)
	}
	return &k, nil
}

// check finds what wrapping a key would, for less than an agreement of keys.
func (k *teeKey) check() error {
	curve, size := k.curve()
	if curve == nil {
		_, err := k.wrap(make([]byte, 32))
		return err
	}
	_, err := k.point(curve, size)
	return err
}

// curve is nil for a key that is on none.
func (k *teeKey) curve() (curve ecdh.Curve, size int) {
	switch {
	case k.Kty == "EC" && k.Alg == algECDH && k.Crv == "P-256":
		return ecdh.P256(), 32
	case k.Kty == "EC" && k.Alg == algECDH && k.Crv == "P-521":
		return ecdh.P521(), 66
	}
	return nil, 0
}

func (k *teeKey) point(curve ecdh.Curve, size int) (*ecdh.PublicKey, error) {
	point := []byte{4} // uncompressed, SEC 1 section 2.3.3
	for _, text := range []string{k.X, k.Y} {
		coordinate, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || len(coordinate) != size {
			return nil, fmt.Errorf("a coordinate is not %d bytes in base64url", size)
		}
		point = append(point, coordinate...)
	}
	return curve.NewPublicKey(point) // which must be on the curve
}

// seal encrypts value so that only the holder of the private key reads it.
func (k *teeKey) seal(value []byte) (*sealed, error) {
	key := randomBytes(32)
	wrapped, err := k.wrap(key)
	if err != nil {
		return nil, err
	}
	protected, err := json.Marshal(wrapped.header)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	iv, aad := randomBytes(gcm.NonceSize()), base64url(protected)
	box := gcm.Seal(nil, iv, value, []byte(aad))
	text := len(box) - gcm.Overhead()
	return &sealed{
		Protected: aad, EncryptedKey: base64url(wrapped.key), IV: base64url(iv),
		Ciphertext: base64url(box[:text]), Tag: base64url(box[text:]),
	}, nil
}

type wrappedKey struct {
	header header
	key    []byte
}

func (k *teeKey) wrap(key []byte) (*wrappedKey, error) {
	if curve, size := k.curve(); curve != nil {
		return k.wrapEC(curve, size, key)
	}
	if k.Kty == "RSA" && k.Alg == algRSA {
		return k.wrapRSA(key)
	}
	return nil, fmt.Errorf("key type %q with curve %q and algorithm %q is not supported: expected EC with P-256 or P-521 and %s, or RSA and %s",
		k.Kty, k.Crv, k.Alg, algECDH, algRSA)
}

// wrapEC is RFC 7518 section 4.6 with both parties' information empty.
func (k *teeKey) wrapEC(curve ecdh.Curve, size int, key []byte) (*wrappedKey, error) {
	public, err := k.point(curve, size)
	if err != nil {
		return nil, err
	}
	ephemeral, err := curve.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	shared, err := ephemeral.ECDH(public)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(wrappingKey(shared))
	if err != nil {
		return nil, err
	}
	wrapped, err := josecipher.KeyWrap(block, key)
	if err != nil {
		return nil, err
	}
	own := ephemeral.PublicKey().Bytes()[1:]
	epk := &ephemeralKey{Crv: k.Crv, Kty: "EC", X: base64url(own[:size]), Y: base64url(own[size:])}
	return &wrappedKey{header{Alg: algECDH, Enc: encGCM, EPK: epk}, wrapped}, nil
}

func wrappingKey(shared []byte) []byte {
	alg := binary.BigEndian.AppendUint32(nil, uint32(len(algECDH)))
	alg = append(alg, algECDH...)
	empty := make([]byte, 4)
	bits := binary.BigEndian.AppendUint32(nil, 256)
	key := make([]byte, 32)
	_, _ = josecipher.NewConcatKDF(crypto.SHA256, shared, alg, empty, empty, bits, nil).Read(key) // reads for ever
	return key
}

func (k *teeKey) wrapRSA(key []byte) (*wrappedKey, error) {
	n, err := base64.RawURLEncoding.DecodeString(k.N)
	if err != nil || len(n) < 256 || len(n) > 1024 {
		return nil, errors.New("the RSA modulus is not 2048 to 8192 bits in base64url")
	}
	e, err := base64.RawURLEncoding.DecodeString(k.E)
	if err != nil || len(e) == 0 || len(e) > 4 {
		return nil, errors.New("the RSA exponent is not 1 to 4 bytes in base64url")
	}
	public := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, key, nil)
	if err != nil {
		return nil, err
	}
	return &wrappedKey{header{Alg: algRSA, Enc: encGCM}, wrapped}, nil
}

func base64url(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// public is the key as Go's crypto packages have it.
func (k *teeKey) public() (any, error) {
	raw, err := json.Marshal(k)
	if err != nil {
		return nil, err
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(raw); err != nil {
		return nil, err
	}
	return jwk.Key, nil
}
