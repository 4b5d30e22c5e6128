// Package admit decides which configs a machine may use before a byte of them is
// parsed.
//
// Where a key is named, a config counts when that key signed it, or when a config
// that counts names its hash. A signed config is one document, so that whatever
// carries a config carries the signature too: a DSSE envelope of an in-toto
// statement that holds the config.
package admit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"holdfast/internal/input"
	"holdfast/internal/sign"
)

// Type is the predicate type of a signed config.
const Type = "urn:holdfast:ignition-config:v1"

// A predicate holds the config as it was signed.
type predicate struct {
	Config []byte `json:"config"`
}

// Event is the event field of the record that a measured config has in the log.
func Event(source string) string { return "holdfast ignition config " + source + "\x00" }

// ErrRefused is matched by every refusal.
var ErrRefused = errors.New("the config is refused")

func refuse(source, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %w", ErrRefused, source, fmt.Errorf(format, args...))
}

// A Key is who signs configs. The zero value is nobody.
type Key struct {
	id    string
	roots *x509.CertPool
}

var keyID = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// ParseKey reads sha256:HEX, the ID of the very key that signs, or the path of a
// PEM file of certificates, the roots that certify such keys.
func ParseKey(word string) (Key, error) {
	if strings.HasPrefix(word, "sha256:") {
		if !keyID.MatchString(word) {
			return Key{}, fmt.Errorf("key %.80q: want sha256: and 64 hex digits", word)
		}
		return Key{id: strings.TrimPrefix(word, "sha256:")}, nil
	}
	raw, err := input.ReadFile(word, input.Key)
	if err != nil {
		return Key{}, fmt.Errorf("key: %w", err)
	}
	k, err := ParseRoots(raw)
	if err != nil {
		return Key{}, fmt.Errorf("key %s: %w", word, err)
	}
	return k, nil
}

// ParseRoots reads the certificates of such a file.
func ParseRoots(raw []byte) (Key, error) {
	k := Key{roots: x509.NewCertPool()}
	for n := 0; ; n++ {
		block, rest := pem.Decode(raw)
		if block == nil {
			if n == 0 || len(bytes.TrimSpace(raw)) > 0 {
				return Key{}, errors.New("is not PEM, want certificates between BEGIN and END lines")
			}
			return k, nil
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return Key{}, fmt.Errorf("certificate %d: %w", n+1, err)
		}
		k.roots.AddCert(cert)
		raw = rest
	}
}

// IsZero says that no key is named.
func (k Key) IsZero() bool { return k.id == "" && k.roots == nil }

// A Gate admits configs by a key.
type Gate struct {
	Key Key
	// Strict admits without a key only what is named by its hash: for what a
	// config brings in that was authorised itself.
	Strict bool
	Now    func() time.Time // by which certificates hold; time.Now when nil
}

// Admit gives the config to be parsed. Hashed says that a config that was
// admitted names the hash of this one.
func (g Gate) Admit(_ context.Context, source string, raw []byte, hashed bool) ([]byte, error) {
	envelope, err := sign.ParseEnvelope(raw)
	isSigned := err == nil && envelope.PayloadType == sign.PayloadType
	switch {
	case g.Key.IsZero() && isSigned:
		return nil, refuse(source, "it is signed, and no key is named to check it by: want -config-key, or ignition.config.key on the kernel's command line")
	case !isSigned && hashed, g.Key.IsZero() && !g.Strict:
		return raw, nil
	case g.Key.IsZero():
		return nil, refuse(source, "it is not named by its hash, so whoever authorised what names it did not authorise it: want verification.hash")
	case !isSigned && len(bytes.TrimSpace(raw)) == 0:
		return nil, refuse(source, "there is none, and a key must have signed it")
	case !isSigned:
		return nil, refuse(source, "nobody signed it: want a signed config, or its hash where another config names it")
	}
	statement, err := g.open(envelope)
	if err != nil {
		return nil, refuse(source, "%w", err)
	}
	config, err := content(statement)
	if err != nil {
		return nil, refuse(source, "%w", err)
	}
	return config, nil
}

func (g Gate) open(e sign.Envelope) (sign.Statement, error) {
	if g.Key.id != "" {
		s, err := sign.OpenBy(e, g.Key.id)
		if errors.Is(err, sign.ErrUntrusted) {
			err = fmt.Errorf("no good signature by key sha256:%s", g.Key.id)
		}
		return s, err
	}
	now := time.Now
	if g.Now != nil {
		now = g.Now
	}
	s, _, err := sign.Open(e, g.Key.roots, now())
	return s, err
}

// content is the config that a statement is about.
func content(s sign.Statement) ([]byte, error) {
	if s.PredicateType != Type {
		return nil, fmt.Errorf("the statement is a %.100q, want %s", s.PredicateType, Type)
	}
	var p predicate
	if err := input.JSON(s.Predicate, &p); err != nil {
		return nil, errors.New("the statement holds no config") // the error may quote it
	}
	sum := sha256.Sum256(p.Config)
	if len(s.Subject) != 1 || s.Subject[0].Digest["sha256"] != hex.EncodeToString(sum[:]) {
		return nil, fmt.Errorf("the statement is about another config than it holds, which is sha256:%x", sum)
	}
	return p.Config, nil
}

// Sign makes a signed config; name is for people.
func Sign(config []byte, name string, by sign.Signer) ([]byte, error) {
	sum := sha256.Sum256(config)
	subject := sign.Subject{Name: name, Digest: map[string]string{"sha256": hex.EncodeToString(sum[:])}}
	statement, err := sign.NewStatement(Type, predicate{config}, subject)
	if err != nil {
		return nil, err
	}
	envelope, err := sign.Seal(statement, by)
	if err != nil {
		return nil, err
	}
	raw, err := json.MarshalIndent(envelope, "", "  ")
	return append(raw, '\n'), err
}
