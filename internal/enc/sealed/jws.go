package sealed

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"holdfast/internal/input"
)

// A header is a JWS's (RFC 7515, 4).
type header struct {
	Algorithm string   `json:"alg"`
	KeyID     string   `json:"kid"`
	Encoded   *bool    `json:"b64,omitempty"`  // RFC 7797; the guest components write true
	Critical  []string `json:"crit,omitempty"` // RFC 7515, 4.1.11
}

// A signed text is a sealed secret in its parts, unverified.
type signed struct {
	header    header
	input     string // what the signature is over
	payload   []byte
	signature []byte
}

// parse reads a text without judging what it says.
func parse(text string) (s signed, err error) {
	rest, ok := strings.CutPrefix(text, Prefix)
	parts := strings.Split(rest, ".")
	if !ok || len(parts) != 3 || len(text) > MaxText {
		return s, fmt.Errorf("%w: want sealed.HEADER.PAYLOAD.SIGNATURE of at most %d bytes", ErrFormat, MaxText)
	}
	var raw [3][]byte
	for i, name := range []string{"header", "payload", "signature"} {
		if raw[i], err = decode(parts[i]); err != nil {
			return s, fmt.Errorf("%w: %s: want base64url without padding", ErrFormat, name)
		}
	}
	if err := input.JSON(raw[0], &s.header); err != nil {
		return s, fmt.Errorf("%w: header: %w", ErrFormat, err)
	}
	s.input, s.payload, s.signature = parts[0]+"."+parts[1], raw[1], raw[2]
	return s, s.header.check()
}

func (h header) check() error {
	switch {
	case h.Algorithm != "ES256":
		return fmt.Errorf("%w: algorithm is %.20q, want ES256", ErrFormat, h.Algorithm)
	case h.KeyID == "":
		return fmt.Errorf("%w: header has no kid", ErrFormat)
	case h.Critical != nil || h.Encoded != nil && !*h.Encoded:
		return fmt.Errorf("%w: header has extensions that change what is signed", ErrFormat)
	}
	return nil
}

// decode takes one spelling of bytes.
func decode(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") { // which the decoder skips
		return nil, errors.New("it has line breaks")
	}
	return base64.RawURLEncoding.Strict().DecodeString(s)
}

// verify returns what was signed (RFC 7518, 3.4).
func (s signed) verify(key *ecdsa.PublicKey) (*Secret, error) {
	const half = 32
	if len(s.signature) != 2*half {
		return nil, fmt.Errorf("%w: it has %d bytes, want %d", ErrSignature, len(s.signature), 2*half)
	}
	digest := sha256.Sum256([]byte(s.input))
	r, t := new(big.Int).SetBytes(s.signature[:half]), new(big.Int).SetBytes(s.signature[half:])
	if !ecdsa.Verify(key, digest[:], r, t) {
		return nil, fmt.Errorf("%w with %s: another key signed it, or it was altered", ErrSignature, s.header.KeyID)
	}
	return s.read()
}

func (s signed) read() (*Secret, error) {
	var secret Secret
	if err := input.JSON(s.payload, &secret); err != nil {
		return nil, fmt.Errorf("%w: payload: %w", ErrFormat, err)
	}
	return &secret, nil
}

// Seal signs a secret with the key whose public half the resource kid holds.
func Seal(secret Secret, kid string, key *ecdsa.PrivateKey) (string, error) {
	if key.Curve != elliptic.P256() {
		return "", errors.New("key that signs: want one of P-256")
	}
	if err := secret.Check(); err != nil {
		return "", err
	}
	if secret.Settings == nil {
		secret.Settings = map[string]any{}
	}
	if secret.Annotations == nil {
		secret.Annotations = map[string]any{}
	}
	payload, err := json.Marshal(secret)
	if err != nil {
		return "", err
	}
	head, err := json.Marshal(header{Algorithm: "ES256", KeyID: kid})
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(payload)
	digest := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return "", err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return Prefix + text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
