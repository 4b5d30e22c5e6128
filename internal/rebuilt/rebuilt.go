// Package rebuilt states that a key's owner built an image again, from its
// lock, and got the very same bytes: so nobody has to trust one builder.
//
// A statement is SLSA provenance of the second build, as OSS Rebuild states
// its own, in a DSSE envelope; docs/formats/rebuilt.md describes it. It counts
// for the image whose kernel image and root it names, by a key that the reader
// was given, until the time that it names, and for nothing else.
//
//	https://slsa.dev/spec/v1.0/provenance
//	https://docs.oss-rebuild.dev/builds/Rebuild@v0.1
package rebuilt

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast/internal/cosign"
	"holdfast/internal/input"
	"holdfast/internal/oci"
	"holdfast/internal/sign"
)

const (
	// PredicateType is SLSA's, for every 1.x.
	PredicateType = "https://slsa.dev/provenance/v1"
	// BuildType tells a build that was compared from a first one.
	BuildType = "urn:holdfast:build:rebuild:v1"
)

// maxSignatures bounds what one envelope costs its reader.
const maxSignatures = 64

// A Rebuild is what was built again, and of what.
type Rebuild struct {
	Subjects []sign.Subject // each was the same, byte for byte
	Format   string         // oci or machine
	RootHash string         // of a machine image: what its kernel image boots
	Inputs   []Resource     // recipe, lock, the first build's provenance, toolchain
	Version  map[string]string
	Until    *time.Time // no longer good then; always when nil
}

// A Resource is in-toto's ResourceDescriptor.
type Resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

type predicate struct {
	Definition struct {
		BuildType string     `json:"buildType"`
		External  external   `json:"externalParameters"`
		Inputs    []Resource `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	Run struct {
		Builder  builder  `json:"builder"`
		Metadata metadata `json:"metadata"`
	} `json:"runDetails"`
}

type external struct {
	Format   string `json:"format"`
	RootHash string `json:"rootHash,omitempty"`
}

type builder struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version,omitempty"`
}

// metadata has one field more than SLSA's, named as its extensions are.
type metadata struct {
	Until *time.Time `json:"holdfast_expires,omitempty"`
}

// Sign states r, by key: Ed25519, ECDSA or RSA. An Ed25519 key makes the same
// bytes every time.
func Sign(r Rebuild, key crypto.Signer) ([]byte, error) {
	public, err := cosign.NewKey(key.Public())
	if err != nil {
		return nil, err
	}
	var p predicate
	p.Definition.BuildType, p.Definition.Inputs = BuildType, r.Inputs
	p.Definition.External = external{r.Format, r.RootHash}
	p.Run.Builder = builder{"urn:holdfast:builder:" + public.ID(), r.Version}
	p.Run.Metadata.Until = r.Until
	statement, err := sign.NewStatement(PredicateType, p, r.Subjects...)
	if err != nil {
		return nil, err
	}
	envelope, err := sign.Seal(statement)
	if err != nil {
		return nil, err
	}
	sig, err := cosign.SignMessage(key, sign.PreAuthEncoding(envelope.PayloadType, envelope.Payload))
	if err != nil {
		return nil, err
	}
	envelope.Signatures = []sign.Signature{{KeyID: public.ID(), Sig: sig}}
	raw, err := json.Marshal(envelope)
	return append(raw, '\n'), err
}

// A Statement was read, but nobody's word was taken for it yet: SignedBy tells.
type Statement struct {
	Rebuild
	envelope sign.Envelope
}

// Parse reads a statement strictly. It looks at no signature.
func Parse(raw []byte) (*Statement, error) {
	envelope, err := sign.ParseEnvelope(raw)
	if err != nil {
		return nil, err
	}
	if envelope.PayloadType != sign.PayloadType {
		return nil, fmt.Errorf("payload type %.80q: want %s", envelope.PayloadType, sign.PayloadType)
	}
	if n := len(envelope.Signatures); n == 0 || n > maxSignatures {
		return nil, fmt.Errorf("it has %d signatures: want 1 to %d", n, maxSignatures)
	}
	said, err := sign.Peek(envelope)
	if err != nil {
		return nil, err
	}
	p, err := readPredicate(said)
	if err != nil {
		return nil, err
	}
	return &Statement{envelope: envelope, Rebuild: Rebuild{
		Subjects: said.Subject, Format: p.Definition.External.Format, RootHash: p.Definition.External.RootHash,
		Inputs: p.Definition.Inputs, Version: p.Run.Builder.Version, Until: p.Run.Metadata.Until,
	}}, nil
}

func readPredicate(said sign.Statement) (*predicate, error) {
	if said.PredicateType != PredicateType {
		return nil, fmt.Errorf("statement is of type %.100q: want %s", said.PredicateType, PredicateType)
	}
	p := &predicate{}
	if err := input.JSON(said.Predicate, p); err != nil {
		return nil, fmt.Errorf("rebuild: %w", err)
	}
	if p.Definition.BuildType != BuildType {
		return nil, fmt.Errorf("statement is of a build of type %.100q: want %s", p.Definition.BuildType, BuildType)
	}
	if len(said.Subject) == 0 {
		return nil, errors.New("rebuild: it speaks of nothing")
	}
	return p, nil
}

// SignedBy says whether the key's owner signed exactly this.
func (s *Statement) SignedBy(key cosign.Key) bool {
	message := sign.PreAuthEncoding(s.envelope.PayloadType, s.envelope.Payload)
	return slices.ContainsFunc(s.envelope.Signatures, func(sig sign.Signature) bool { return key.Verify(message, sig.Sig) })
}

// About says whether it is about the machine image with this kernel image and
// this root.
func (s *Statement) About(uki oci.Digest, rootHash string) bool {
	return uki != "" && rootHash != "" && s.RootHash == rootHash && s.Subject("uki.efi") == uki
}

// Subject is the digest of what it says was built under that name.
func (s *Statement) Subject(name string) oci.Digest {
	for _, subject := range s.Subjects {
		if hex := subject.Digest["sha256"]; subject.Name == name && hex != "" {
			return oci.Digest("sha256:" + hex)
		}
	}
	return ""
}

// Input is the digest of what it says it was built of, by name.
func (s *Statement) Input(name string) oci.Digest {
	for _, r := range s.Inputs {
		if hex := r.Digest["sha256"]; r.Name == name && hex != "" {
			return oci.Digest("sha256:" + hex)
		}
	}
	return ""
}

// Good says whether it has not expired.
func (s *Statement) Good(now time.Time) bool { return s.Until == nil || now.Before(*s.Until) }
