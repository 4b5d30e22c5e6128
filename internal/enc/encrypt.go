package enc

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"holdfast/internal/oci"
)

// A Recipient can wrap the key of a layer for somebody.
type Recipient interface {
	// Wrap seals a layer's private options and names the annotation that the
	// packet belongs to.
	Wrap(options []byte) (annotation string, packet []byte, err error)
}

// Config says how a layer is encrypted.
type Config struct {
	Recipients []Recipient // at least one
	Digest     oci.Digest  // of the plaintext; told to recipients, may be empty
	Random     io.Reader   // crypto/rand unless told otherwise
}

// An Encryptor reads as ciphertext.
type Encryptor struct {
	r          io.Reader
	stream     cipher.Stream
	mac        hash.Hash
	private    PrivateOptions
	recipients []Recipient
	err        error
}

// Encrypt returns the ciphertext of r under a fresh key.
func Encrypt(r io.Reader, c Config) (*Encryptor, error) {
	if len(c.Recipients) == 0 {
		return nil, errors.New("encrypt layer: no recipient given")
	}
	random := c.Random
	if random == nil {
		random = rand.Reader
	}
	secret := make([]byte, keySize+nonceSize)
	if _, err := io.ReadFull(random, secret); err != nil {
		return nil, fmt.Errorf("encrypt layer: make a key: %w", err)
	}
	private := PrivateOptions{
		Key:     secret[:keySize:keySize],
		Digest:  c.Digest,
		Options: map[string][]byte{nonceName: secret[keySize:]},
	}
	e := &Encryptor{r: r, private: private, recipients: c.Recipients}
	e.stream, e.mac = ciphers(private)
	return e, nil
}

// ciphers uses one key for both, as the format does: the MAC is over the
// ciphertext, by HMAC-SHA256 with the cipher's key.
func ciphers(p PrivateOptions) (cipher.Stream, hash.Hash) {
	block, err := aes.NewCipher(p.Key)
	if err != nil {
		panic(err) // only a key of a wrong length; check refuses those
	}
	return cipher.NewCTR(block, p.Options[nonceName]), hmac.New(sha256.New, p.Key)
}

// Read gives ciphertext.
func (e *Encryptor) Read(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	n, err := e.r.Read(p)
	e.stream.XORKeyStream(p[:n], p[:n])
	e.mac.Write(p[:n])
	e.err = err
	return n, err
}

// Annotations are what the encrypted layer's descriptor must carry. They
// exist once everything was read.
func (e *Encryptor) Annotations() (map[string]string, error) {
	if e.err != io.EOF {
		return nil, errors.New("encrypt layer: annotations asked for before its end")
	}
	options, err := json.Marshal(e.private)
	if err != nil {
		return nil, err
	}
	public, err := json.Marshal(PublicOptions{Cipher: Cipher, HMAC: e.mac.Sum(nil), Options: map[string][]byte{}})
	if err != nil {
		return nil, err
	}
	annotations := map[string]string{AnnotationOptions: base64.StdEncoding.EncodeToString(public)}
	for _, recipient := range e.recipients {
		if err := addPacket(annotations, recipient, options); err != nil {
			return nil, fmt.Errorf("wrap layer key: %w", err)
		}
	}
	return annotations, nil
}

// addPacket appends to what other recipients of the same kind have: packets
// in one annotation are base64, separated by commas.
func addPacket(annotations map[string]string, recipient Recipient, options []byte) error {
	name, packet, err := recipient.Wrap(options)
	if err != nil {
		return err
	}
	if annotations[name] != "" {
		annotations[name] += ","
	}
	annotations[name] += base64.StdEncoding.EncodeToString(packet)
	return nil
}
