// Package enc encrypts the layers of OCI images, in the format of ocicrypt,
// skopeo and the Confidential Containers guest components.
//
// Each layer has a key of its own. The key, wrapped once for every recipient,
// and the MAC of the ciphertext ride in the layer's annotations, so whoever
// can unwrap the key needs nothing else. Both directions stream in constant
// memory. A reader of plaintext meets io.EOF only after the MAC of everything
// before it was found good; an altered or shortened layer ends in ErrMAC.
//
// Format: docs/formats/encrypted-image.md.
package enc

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"holdfast/internal/oci"
)

// The annotations of an encrypted layer.
const (
	AnnotationPrefix  = "org.opencontainers.image.enc."
	AnnotationOptions = AnnotationPrefix + "pubopts"
	AnnotationJWE     = AnnotationPrefix + "keys.jwe"
	AnnotationBroker  = AnnotationPrefix + "keys.provider.attestation-agent"
)

// Cipher is the only cipher that the format knows.
const Cipher = "AES_256_CTR_HMAC_SHA256"

// Suffix is what encryption adds to a layer's media type.
const Suffix = "+encrypted"

const (
	keySize   = 32
	nonceSize = 16
	macSize   = 32
	nonceName = "nonce"
)

// Errors that a caller may branch on.
var (
	// ErrMAC says that the ciphertext is not what was encrypted with this key:
	// it was altered, shortened or lengthened, or its MAC was.
	ErrMAC = errors.New("message authentication code does not match: layer altered or truncated")
	// ErrUnread says that a decrypted layer was closed before its end, so that
	// nobody knows whether what was read is genuine.
	ErrUnread = errors.New("layer closed before its end: message authentication code not checked")
	// ErrNoKey says that none of the keys at hand fits any wrapped key.
	ErrNoKey = errors.New("no key for this layer")
	// ErrFormat says that an annotation cannot be understood.
	ErrFormat = errors.New("malformed encryption annotation")
)

// PrivateOptions are the secrets of one layer, the thing that recipients
// unwrap. They cannot be printed.
type PrivateOptions struct {
	Key     []byte            `json:"symkey"`
	Digest  oci.Digest        `json:"digest"` // of the plaintext; may be empty
	Options map[string][]byte `json:"cipheroptions"`
}

// String hides the key from fmt.
func (PrivateOptions) String() string { return "[layer key]" }

// GoString hides the key from fmt's %#v.
func (PrivateOptions) GoString() string { return "[layer key]" }

// LogValue hides the key from slog.
func (p PrivateOptions) LogValue() slog.Value { return slog.StringValue(p.String()) }

// PublicOptions are what everybody may know of one layer.
type PublicOptions struct {
	Cipher  string            `json:"cipher"`
	HMAC    strictBytes       `json:"hmac"`
	Options map[string][]byte `json:"cipheroptions"`
}

// Options are all that decryption needs.
type Options struct {
	Public  PublicOptions
	Private PrivateOptions
}

// IsEncrypted tells from a layer's media type whether it is encrypted.
func IsEncrypted(mediaType string) bool { return strings.HasSuffix(mediaType, Suffix) }

// ParsePublic reads the value of AnnotationOptions.
//
// Its cipher options must be empty. Nothing authenticates them, and ocicrypt
// would let a nonce there replace the wrapped one, so that a good MAC would
// stand over wrong plaintext.
func ParsePublic(annotation string) (PublicOptions, error) {
	var p PublicOptions
	raw, err := decodeBase64(annotation)
	if err != nil {
		return p, fmt.Errorf("%w: public options: %v", ErrFormat, err)
	}
	if err := decodeExact(raw, &p, "cipher", "hmac", "cipheroptions"); err != nil {
		return p, fmt.Errorf("%w: public options: %v", ErrFormat, err)
	}
	return p, p.check()
}

func (p PublicOptions) check() error {
	switch {
	case p.Cipher != Cipher:
		return fmt.Errorf("%w: cipher is %.40q, want %s", ErrFormat, p.Cipher, Cipher)
	case len(p.HMAC) != macSize:
		return fmt.Errorf("%w: HMAC has %d bytes, want %d", ErrFormat, len(p.HMAC), macSize)
	case len(p.Options) != 0:
		return fmt.Errorf("%w: unauthenticated cipher options in public", ErrFormat)
	}
	return nil
}

// ParsePrivate reads unwrapped private options.
func ParsePrivate(options []byte) (PrivateOptions, error) {
	var p PrivateOptions
	if err := json.Unmarshal(options, &p); err != nil {
		return PrivateOptions{}, fmt.Errorf("%w: unwrapped options are not JSON of a layer key", ErrFormat)
	}
	return p, p.check()
}

func (p PrivateOptions) check() error {
	if n := len(p.Key); n != keySize {
		return fmt.Errorf("%w: layer key has %d bytes, want %d", ErrFormat, n, keySize)
	}
	if n := len(p.Options[nonceName]); n != nonceSize {
		return fmt.Errorf("%w: nonce has %d bytes, want %d", ErrFormat, n, nonceSize)
	}
	return nil
}
