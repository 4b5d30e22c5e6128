// Package sign makes and checks signed statements: "key K says V of digest D".
//
// A statement is an in-toto Statement v1 in a DSSE envelope, and the key that
// signed it is certified by one root. Every record that Holdfast writes for
// others to believe has this form, so one verb can follow them all.
//
//	https://github.com/in-toto/attestation/blob/v1.1.0/spec/v1/statement.md
//	https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md
package sign

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"holdfast/internal/input"
	"holdfast/internal/plainjson"
)

// The types that envelope and statement carry.
const (
	StatementType = "https://in-toto.io/Statement/v1"
	PayloadType   = "application/vnd.in-toto+json"
)

// What a verifier may branch on.
var (
	ErrUnsigned  = errors.New("nobody signed it")
	ErrUntrusted = errors.New("no signature by a key that the given root certifies")
)

// A Subject is what a statement speaks of.
type Subject struct {
	Name        string            `json:"name,omitempty"`
	Digest      map[string]string `json:"digest"` // algorithm to hex
	Annotations map[string]any    `json:"annotations,omitempty"`
}

// A Statement says Predicate of its subjects.
type Statement struct {
	Type          string          `json:"_type"`
	Subject       []Subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// NewStatement says predicate, which is marshalled, of subjects.
func NewStatement(predicateType string, predicate any, subjects ...Subject) (Statement, error) {
	raw, err := json.Marshal(predicate)
	if err != nil {
		return Statement{}, err
	}
	return Statement{Type: StatementType, Subject: subjects, PredicateType: predicateType, Predicate: raw}, nil
}

// An Envelope is a statement with the signatures over its exact bytes.
type Envelope struct {
	PayloadType string      `json:"payloadType"`
	Payload     []byte      `json:"payload"`
	Signatures  []Signature `json:"signatures"`
}

// A Signature is one key's word. The certificate rides along, so that a
// reader needs the root and nothing else.
type Signature struct {
	KeyID       string `json:"keyid"` // sha256 of the SubjectPublicKeyInfo, in hex
	Sig         []byte `json:"sig"`
	Certificate []byte `json:"cert,omitempty"` // DER
}

// A Signer holds an Ed25519 key and the root's certificate for it. Ed25519,
// because equal statements must have equal signatures.
type Signer struct {
	Key         ed25519.PrivateKey
	Certificate *x509.Certificate
}

// Seal puts s into an envelope, signed by each of signers (there may be none).
func Seal(s Statement, signers ...Signer) (Envelope, error) {
	payload, err := json.Marshal(s)
	if err != nil {
		return Envelope{}, err
	}
	return SealPayload(payload, signers...), nil
}

// SealPayload is Seal for a statement that is already marshalled.
func SealPayload(payload []byte, signers ...Signer) Envelope {
	env := Envelope{PayloadType: PayloadType, Payload: payload, Signatures: []Signature{}}
	for _, k := range signers {
		env.Signatures = append(env.Signatures, Signature{
			KeyID:       KeyID(k.Certificate),
			Sig:         ed25519.Sign(k.Key, PreAuthEncoding(PayloadType, payload)),
			Certificate: k.Certificate.Raw,
		})
	}
	return env
}

// SealPredicate is NewStatement and Seal for a predicate that is JSON already,
// as encoding/json writes it: it goes in as it stands.
func SealPredicate(predicateType string, predicate []byte, subjects []Subject, signers ...Signer) (Envelope, error) {
	o := plainjson.Begin(make([]byte, 0, len(predicate)+1<<10))
	o.Add("_type", StatementType)
	o.Add("subject", subjects)
	o.Add("predicateType", predicateType)
	o.Add("predicate", plainjson.Ready(predicate))
	payload, err := o.End()
	if err != nil {
		return Envelope{}, err
	}
	return SealPayload(payload, signers...), nil
}

// AppendJSON adds to text what encoding/json makes of the envelope, which looks
// at each byte several times.
func (e Envelope) AppendJSON(text []byte) ([]byte, error) {
	o := plainjson.Begin(slices.Grow(text, base64.StdEncoding.EncodedLen(len(e.Payload))+1<<12))
	o.Add("payloadType", e.PayloadType)
	o.Bytes("payload", e.Payload)
	o.Add("signatures", e.Signatures)
	return o.End()
}

// KeyID names the key in a certificate.
func KeyID(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// DocumentSigning is the extended key usage of keys that sign proofs, which
// are documents for people: RFC 9336, 3. Such a key signs no statement about
// an image.
var DocumentSigning = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 36}

// Open returns the statement in env if a key that roots certify at that time,
// for code signing, signed it, and that key's certificate.
func Open(env Envelope, roots *x509.CertPool, at time.Time) (Statement, *x509.Certificate, error) {
	opts := x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}
	return open(env, func(c *x509.Certificate) error {
		_, err := c.Verify(opts)
		return err
	})
}

// OpenDocument is Open for keys that are certified for signing documents.
func OpenDocument(env Envelope, roots *x509.CertPool, at time.Time) (Statement, *x509.Certificate, error) {
	opts := x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	return open(env, func(c *x509.Certificate) error {
		if !slices.ContainsFunc(c.UnknownExtKeyUsage, DocumentSigning.Equal) {
			return ErrUntrusted
		}
		_, err := c.Verify(opts)
		return err
	})
}

// OpenBy is Open for one key by its ID, whoever certified it and until when.
func OpenBy(env Envelope, keyID string) (Statement, error) {
	s, _, err := open(env, func(c *x509.Certificate) error {
		if KeyID(c) != keyID {
			return ErrUntrusted
		}
		return nil
	})
	return s, err
}

func open(env Envelope, certified func(*x509.Certificate) error) (Statement, *x509.Certificate, error) {
	if len(env.Signatures) == 0 {
		return Statement{}, nil, ErrUnsigned
	}
	if env.PayloadType != PayloadType {
		return Statement{}, nil, fmt.Errorf("payload type %q: want %s", env.PayloadType, PayloadType)
	}
	for _, s := range env.Signatures {
		if cert, err := s.verify(env.Payload, certified); err == nil {
			st, err := parseStatement(env.Payload)
			return st, cert, err
		}
	}
	return Statement{}, nil, ErrUntrusted
}

// Peek returns the statement without believing it.
func Peek(env Envelope) (Statement, error) { return parseStatement(env.Payload) }

// ParseEnvelope reads an envelope strictly.
func ParseEnvelope(raw []byte) (Envelope, error) {
	var env Envelope
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&env); err != nil {
		return Envelope{}, fmt.Errorf("no DSSE envelope: %w", input.Cut(input.Explain(err)))
	}
	if _, err := dec.Token(); err != io.EOF {
		return Envelope{}, errors.New("DSSE envelope: something follows it")
	}
	return env, nil
}

func (s Signature) verify(payload []byte, certified func(*x509.Certificate) error) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(s.Certificate)
	if err != nil {
		return nil, err
	}
	if err := certified(cert); err != nil {
		return nil, err
	}
	key, ok := cert.PublicKey.(ed25519.PublicKey)
	if !ok || !ed25519.Verify(key, PreAuthEncoding(PayloadType, payload), s.Sig) {
		return nil, ErrUntrusted
	}
	return cert, nil
}

func parseStatement(payload []byte) (Statement, error) {
	var s Statement
	if err := input.JSON(payload, &s); err != nil {
		return Statement{}, fmt.Errorf("in-toto statement: %w", err)
	}
	if s.Type != StatementType {
		return Statement{}, fmt.Errorf("in-toto statement: type %q: want %s", s.Type, StatementType)
	}
	return s, nil
}

// PreAuthEncoding is the PAE of the DSSE protocol: what is really signed.
func PreAuthEncoding(payloadType string, payload []byte) []byte {
	b := []byte("DSSEv1 " + strconv.Itoa(len(payloadType)) + " " + payloadType + " " + strconv.Itoa(len(payload)) + " ")
	return append(b, payload...)
}
