package cosign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"holdfast/internal/input"
	"holdfast/internal/oci"
	"holdfast/internal/sign"
)

// maxSubjects bounds what one statement may speak of, as sigstore-go does.
const maxSubjects = 1024

// A bundle is the part of a Sigstore bundle, version 0.3, that is of use with
// a key that was given. What logs and clocks say beside it is not read.
type bundle struct {
	MediaType    string        `json:"mediaType"`
	Material     material      `json:"verificationMaterial"`
	DSSEEnvelope *dsseEnvelope `json:"dsseEnvelope,omitempty"`
}

type material struct {
	PublicKey *keyHint `json:"publicKey,omitempty"`
}

type keyHint struct {
	Hint string `json:"hint"`
}

type dsseEnvelope struct {
	Payload     []byte          `json:"payload"`
	PayloadType string          `json:"payloadType"`
	Signatures  []dsseSignature `json:"signatures"`
}

type dsseSignature struct {
	Sig []byte `json:"sig"`
}

// ErrOther says that a bundle is well, but signs no image.
var ErrOther = errors.New("is no signature of an image")

// ParseBundle reads the bundle that signs an image.
func ParseBundle(raw []byte) (Signature, error) {
	var b bundle
	if err := input.JSON(raw, &b); err != nil {
		return Signature{}, fmt.Errorf("bundle: %w", err)
	}
	if b.MediaType != BundleType && b.MediaType != bundleTypes+"+json;version=0.3" {
		return Signature{}, fmt.Errorf("bundle: type %.80q: want %s", b.MediaType, BundleType)
	}
	e := b.DSSEEnvelope
	if e == nil {
		return Signature{}, fmt.Errorf("bundle: %w: it has no DSSE envelope", ErrOther)
	}
	// The bundle's specification wants exactly one.
	if len(e.Signatures) != 1 {
		return Signature{}, fmt.Errorf("bundle: DSSE envelope with %d signatures: want 1", len(e.Signatures))
	}
	if e.PayloadType != sign.PayloadType {
		return Signature{}, fmt.Errorf("bundle: payload type %.80q: want %s", e.PayloadType, sign.PayloadType)
	}
	statement, err := sign.Peek(sign.Envelope{Payload: e.Payload})
	if err != nil {
		return Signature{}, fmt.Errorf("bundle: %w", err)
	}
	s := Signature{
		Format: Bundle, Source: oci.SHA256(raw), sig: e.Signatures[0].Sig,
		message: sign.PreAuthEncoding(e.PayloadType, e.Payload),
	}
	return s, s.takeStatement(statement)
}

func (s *Signature) takeStatement(st sign.Statement) error {
	if st.PredicateType != PredicateType {
		return fmt.Errorf("bundle: %w: its predicate is %.80q", ErrOther, st.PredicateType)
	}
	if n := len(st.Subject); n == 0 || n > maxSubjects {
		return fmt.Errorf("bundle: statement of %d subjects: want 1 to %d", n, maxSubjects)
	}
	for _, subject := range st.Subject {
		for algorithm, hex := range subject.Digest {
			if d, err := oci.ParseDigest(algorithm + ":" + hex); err == nil {
				s.Images = append(s.Images, d)
			}
		}
	}
	if len(st.Subject) == 1 { // of several, it would be unclear whose name it is
		s.Name, s.Annotations = st.Subject[0].Name, st.Subject[0].Annotations
	}
	return nil
}

// Sign makes a bundle in which key says that it knows the image, by that name,
// which may be empty. An Ed25519 key makes the same bundle every time.
func Sign(key crypto.Signer, image oci.Digest, name string, annotations map[string]any) ([]byte, error) {
	public, err := NewKey(key.Public())
	if err != nil {
		return nil, err
	}
	st, err := sign.NewStatement(PredicateType, struct{}{}, sign.Subject{
		Name: name, Digest: map[string]string{image.Algorithm(): image.Hex()}, Annotations: annotations,
	})
	if err != nil {
		return nil, err
	}
	payload, err := json.Marshal(st)
	if err != nil {
		return nil, err
	}
	sig, err := SignMessage(key, sign.PreAuthEncoding(sign.PayloadType, payload))
	if err != nil {
		return nil, err
	}
	return json.Marshal(bundle{
		MediaType: BundleType, Material: material{PublicKey: &keyHint{public.hint()}},
		DSSEEnvelope: &dsseEnvelope{payload, sign.PayloadType, []dsseSignature{{sig}}},
	})
}

// SignMessage signs so that cosign's verify, left at its defaults, accepts it:
// over SHA-256, and Ed25519 as it is.
func SignMessage(key crypto.Signer, message []byte) ([]byte, error) {
	switch key.Public().(type) {
	case ed25519.PublicKey:
		return key.Sign(rand.Reader, message, crypto.Hash(0))
	case *ecdsa.PublicKey, *rsa.PublicKey:
		h := crypto.SHA256.New()
		h.Write(message)
		return key.Sign(rand.Reader, h.Sum(nil), crypto.SHA256)
	}
	return nil, errors.New("want an Ed25519, ECDSA or RSA key")
}

// IsBundle tells the media types of bundles, whatever their version.
func IsBundle(mediaType string) bool { return strings.HasPrefix(mediaType, bundleTypes) }
