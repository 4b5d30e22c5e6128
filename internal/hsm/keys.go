package hsm

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// List tells of all keys in the token by their labels in order, or of those
// that have the label.
func (c *Client) List(ctx context.Context, label string) ([]Info, error) {
	r, err := c.do(ctx, Request{Op: OpList, Key: label})
	slices.SortFunc(r.Keys, func(x, y Info) int { return strings.Compare(x.Label, y.Label) })
	return r.Keys, err
}

// Generate makes a key in the HSM that can never leave it, and fails when one
// has the label already.
func (c *Client) Generate(ctx context.Context, label string, kind Kind) error {
	id := sha256.Sum256([]byte(label))
	if _, err := c.do(ctx, Request{Op: OpGenerate, Key: label, ID: id[:8], Kind: kind}); err != nil {
		return err
	}
	return c.Kept(ctx, label)
}

// Kept makes sure that a key is in the HSM for ever: it was made there, and
// nobody can read it.
func (c *Client) Kept(ctx context.Context, label string) error {
	keys, err := c.List(ctx, label)
	if err != nil {
		return err
	}
	if len(keys) != 1 {
		return fmt.Errorf("HSM token %s: %w: %d keys are called %q, expected one", c.config.Token, ErrAbsent, len(keys), label)
	}
	if k := keys[0]; k.Extractable || !k.Sensitive || !k.NeverExtractable {
		return fmt.Errorf("HSM token %s: key %q can leave the HSM, or came from outside: extractable %v, sensitive %v, never extractable %v",
			c.config.Token, label, k.Extractable, k.Sensitive, k.NeverExtractable)
	}
	return nil
}

// Encrypt seals by AES-256-GCM: nonce, ciphertext, tag.
func (c *Client) Encrypt(ctx context.Context, label string, plain, aad []byte) ([]byte, error) {
	r, err := c.do(ctx, Request{Op: OpEncrypt, Key: label, Data: plain, AAD: aad})
	return r.Data, err
}

// Decrypt undoes Encrypt.
func (c *Client) Decrypt(ctx context.Context, label string, box, aad []byte) ([]byte, error) {
	r, err := c.do(ctx, Request{Op: OpDecrypt, Key: label, Data: box, AAD: aad})
	return r.Data, err
}

// ECDH agrees on a secret with the holder of point, which is uncompressed.
func (c *Client) ECDH(ctx context.Context, label string, point []byte) ([]byte, error) {
	r, err := c.do(ctx, Request{Op: OpECDH, Key: label, Data: point})
	return r.Data, err
}

// A Key is a private key in the HSM. It can be used wherever one in memory can.
type Key struct {
	client *Client
	label  string
	public crypto.PublicKey
}

var (
	_ crypto.Signer    = (*Key)(nil)
	_ crypto.Decrypter = (*Key)(nil)
)

// Key finds the pair with the label.
func (c *Client) Key(ctx context.Context, label string) (*Key, error) {
	r, err := c.do(ctx, Request{Op: OpPublic, Key: label})
	if err != nil {
		return nil, err
	}
	public, err := x509.ParsePKIXPublicKey(r.Data)
	if err != nil {
		return nil, fmt.Errorf("HSM token %s: public key %q: %w", c.config.Token, label, err)
	}
	return &Key{c, label, public}, nil
}

// Public implements crypto.Signer.
func (k *Key) Public() crypto.PublicKey { return k.public }

var hashNames = map[crypto.Hash]string{crypto.SHA1: "sha1", crypto.SHA256: "sha256", crypto.SHA384: "sha384", crypto.SHA512: "sha512"}

// Sign implements crypto.Signer: ECDSA, or RSASSA-PKCS1-v1_5. What comes back
// was checked: a broken HSM must not sign certificates that nobody can verify.
func (k *Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	name, ok := hashNames[opts.HashFunc()]
	if _, pss := opts.(*rsa.PSSOptions); pss || !ok {
		return nil, fmt.Errorf("%w: sign by %T with %v", ErrUnsupported, opts, opts.HashFunc())
	}
	r, err := k.client.do(context.Background(), Request{Op: OpSign, Key: k.label, Hash: name, Data: digest})
	if err != nil {
		return nil, err
	}
	good := false
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		good = ecdsa.VerifyASN1(public, digest, r.Data)
	case *rsa.PublicKey:
		good = rsa.VerifyPKCS1v15(public, opts.HashFunc(), digest, r.Data) == nil
	}
	if !good {
		return nil, errors.New("the HSM's signature does not verify")
	}
	return r.Data, nil
}

// Decrypt implements crypto.Decrypter by RSA-OAEP without a label.
func (k *Key) Decrypt(_ io.Reader, box []byte, opts crypto.DecrypterOpts) ([]byte, error) {
	o, ok := opts.(*rsa.OAEPOptions)
	if !ok || len(o.Label) > 0 || !slices.Contains([]crypto.Hash{0, o.Hash}, o.MGFHash) || hashNames[o.Hash] == "" {
		return nil, fmt.Errorf("%w: decrypt by %T", ErrUnsupported, opts)
	}
	r, err := k.client.do(context.Background(), Request{Op: OpOAEP, Key: k.label, Hash: hashNames[o.Hash], Data: box})
	return r.Data, err
}
