// Package clevis seals small secrets in a TPM 2.0 in the form of the pin tpm2
// of clevis, and opens what it or clevis has sealed.
//
// The secret is a JWE (RFC 7516, direct encryption with A256GCM) whose key is
// a sealed object of the TPM; the object lies in the JWE's protected header. So
// a volume that is bound here opens with clevis on other systems, and the
// other way around, and with neither on another machine or with other PCRs.
package clevis

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/google/go-tpm/tpm2/transport"

	"holdfast/internal/chip"
)

// ErrRefused says that the TPM does not give the key away: it is another one,
// or its PCRs are not those of the binding.
var ErrRefused = errors.New("the TPM refuses: it is another one, or in another state")

// TPM2 is the pin.
type TPM2 struct {
	Chip func(context.Context) (transport.TPMCloser, error)
	Rand io.Reader // the default is the system's
}

// header is the JWE's protected one, in clevis' words.
type header struct {
	Alg    string `json:"alg"`
	Clevis struct {
		Pin  string `json:"pin"`
		TPM2 sealed `json:"tpm2"`
	} `json:"clevis"`
	Enc string `json:"enc"`
}

// sealed is the object that holds the key.
type sealed struct {
	Hash    string `json:"hash"`
	Private string `json:"jwk_priv"` // TPM2B_PRIVATE
	Public  string `json:"jwk_pub"`  // TPM2B_PUBLIC
	Key     string `json:"key"`
	PCRBank string `json:"pcr_bank,omitempty"`
	PCRIDs  string `json:"pcr_ids,omitempty"`
}

// flattened is RFC 7516, section 7.2.2.
type flattened struct {
	Ciphertext   string `json:"ciphertext"`
	EncryptedKey string `json:"encrypted_key"`
	IV           string `json:"iv"`
	Protected    string `json:"protected"`
	Tag          string `json:"tag"`
}

// jwk is the content of the sealed object: RFC 7517.
type jwk struct {
	Alg    string   `json:"alg"`
	K      string   `json:"k"`
	KeyOps []string `json:"key_ops"`
	Kty    string   `json:"kty"`
}

var b64 = base64.RawURLEncoding

// Seal gives a JWE of the secret; pin is the configuration of clevis encrypt
// tpm2, which may name PCRs.
func (t TPM2) Seal(ctx context.Context, secret []byte, pin json.RawMessage) (json.RawMessage, error) {
	p, err := parsePin(pin)
	if err != nil {
		return nil, err
	}
	key, iv := make([]byte, 32), make([]byte, 12)
	defer clear(key)
	random := t.Rand
	if random == nil {
		random = rand.Reader
	}
	for _, b := range [][]byte{key, iv} {
		if _, err := io.ReadFull(random, b); err != nil {
			return nil, fmt.Errorf("random key: %w", err)
		}
	}
	h := header{Alg: "dir", Enc: "A256GCM"}
	h.Clevis.Pin = "tpm2"
	if h.Clevis.TPM2, err = t.sealKey(ctx, key, p); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	box, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	j := flattened{Protected: b64.EncodeToString(raw), IV: b64.EncodeToString(iv)}
	out := box.Seal(nil, iv, secret, []byte(j.Protected))
	j.Ciphertext, j.Tag = b64.EncodeToString(out[:len(secret)]), b64.EncodeToString(out[len(secret):])
	return json.Marshal(j)
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (t TPM2) sealKey(ctx context.Context, key []byte, p pin) (sealed, error) {
	content, err := json.Marshal(jwk{Alg: "A256GCM", K: b64.EncodeToString(key), KeyOps: []string{"encrypt", "decrypt"}, Kty: "oct"})
	if err != nil {
		return sealed{}, err
	}
	defer clear(content)
	s := sealed{Hash: "sha256", Key: "ecc"}
	if len(p.pcrs) > 0 {
		s.PCRBank, s.PCRIDs = p.bank, p.ids()
	}
	err = t.with(ctx, func(c opened) error {
		made, err := c.seal(content, p)
		s.Public, s.Private = b64.EncodeToString(made.Public), b64.EncodeToString(made.Private)
		return err
	})
	return s, err
}

// Open gives the secret of a JWE in flattened form.
func (t TPM2) Open(ctx context.Context, raw json.RawMessage) ([]byte, error) {
	var j flattened
	if err := json.Unmarshal(raw, &j); err != nil {
		return nil, fmt.Errorf("JWE: %w", err)
	}
	p, public, private, err := parseHeader(j.Protected)
	if err != nil {
		return nil, err
	}
	var iv, text, tag []byte
	for _, part := range []struct {
		to   *[]byte
		from string
	}{{&iv, j.IV}, {&text, j.Ciphertext}, {&tag, j.Tag}} {
		if *part.to, err = b64.DecodeString(part.from); err != nil {
			return nil, fmt.Errorf("JWE: %w", err)
		}
	}
	if len(iv) != 12 || len(tag) != 16 {
		return nil, fmt.Errorf("JWE: nonce of %d bytes and tag of %d, want 12 and 16", len(iv), len(tag))
	}
	var content []byte
	if err := t.with(ctx, func(c opened) (err error) {
		content, err = c.unseal(chip.Sealed{Public: public, Private: private}, p)
		return err
	}); err != nil {
		return nil, err
	}
	defer clear(content)
	return decrypt(content, iv, append(text, tag...), j.Protected)
}

func decrypt(content, iv, text []byte, protected string) ([]byte, error) {
	var k jwk
	if err := json.Unmarshal(content, &k); err != nil {
		return nil, errors.New("JWE: the sealed object is no JWK")
	}
	key, err := b64.DecodeString(k.K)
	if err != nil || len(key) != 32 {
		return nil, errors.New("JWE: the sealed object is no key of 32 bytes")
	}
	defer clear(key)
	box, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	secret, err := box.Open(nil, iv, text, []byte(protected))
	if err != nil {
		return nil, errors.New("JWE: was altered")
	}
	return secret, nil
}

func parseHeader(protected string) (p pin, public, private []byte, err error) {
	raw, err := b64.DecodeString(protected)
	if err != nil {
		return p, nil, nil, fmt.Errorf("JWE: header: %w", err)
	}
	var h header
	if err := json.Unmarshal(raw, &h); err != nil {
		return p, nil, nil, fmt.Errorf("JWE: header: %w", err)
	}
	s := h.Clevis.TPM2
	switch {
	case h.Clevis.Pin != "tpm2":
		return p, nil, nil, fmt.Errorf("JWE: pin is %.20q, want tpm2", h.Clevis.Pin)
	case h.Alg != "dir" || h.Enc != "A256GCM":
		return p, nil, nil, fmt.Errorf("JWE: %.20q with %.20q, want dir with A256GCM", h.Alg, h.Enc)
	case s.Hash != "sha256" || s.Key != "ecc":
		return p, nil, nil, fmt.Errorf("JWE: hash %.20q and key %.20q, want sha256 and ecc", s.Hash, s.Key)
	}
	if public, err = b64.DecodeString(s.Public); err == nil {
		private, err = b64.DecodeString(s.Private)
	}
	if err != nil {
		return p, nil, nil, fmt.Errorf("JWE: sealed object: %w", err)
	}
	p.bank = s.PCRBank
	p.pcrs, err = parseIDs(s.PCRIDs)
	return p, public, private, err
}
