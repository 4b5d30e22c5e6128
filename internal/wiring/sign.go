package wiring

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"holdfast/internal/cosign"
	"holdfast/internal/image/transport"
	"holdfast/internal/input"
	"holdfast/internal/keys"
	"holdfast/internal/oci"
)

// A Signing says how to sign an image.
type Signing struct {
	Image       string
	Key         string         // PEM file of a private key, PKCS #8; the installation's image key when empty
	As          string         // the name to sign it by; the reference when empty and in a registry
	Annotations map[string]any // to be signed too
}

// A Signed says what came of it.
type Signed struct {
	transport.Subject
	Name      string     `json:"name,omitempty"` // that was signed with it
	Key       string     `json:"key"`            // its id
	Signature oci.Digest `json:"signature"`      // of the referrer's manifest
}

// annotationContent and annotationBundle are what cosign writes beside a
// bundle, for readers of a list of referrers. The time, which it writes too, is
// left out: equal signatures are equal.
const (
	annotationContent = "dev.sigstore.bundle.content"
	annotationBundle  = "dev.sigstore.bundle.predicateType"
)

// Sign signs what the reference names, an image or an index, and stores the
// signature beside it.
func (i Installation) Sign(ctx context.Context, s Signing, o transport.Options) (*Signed, error) {
	ref, err := transport.Parse(s.Image)
	if err != nil {
		return nil, err
	}
	key, err := i.signingKey(ctx, s.Key)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	public, err := cosign.NewKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	subject, err := transport.Resolve(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	name, err := signedName(s.As, ref)
	if err != nil {
		return nil, err
	}
	bundle, err := cosign.Sign(key, subject.Digest, name, s.Annotations)
	if err != nil {
		return nil, err
	}
	stored, err := transport.Attach(ctx, ref, subject, transport.Attachment{
		Type: cosign.BundleType, Content: bundle,
		Annotations: map[string]string{annotationContent: "dsse-envelope", annotationBundle: cosign.PredicateType},
	}, o)
	return &Signed{subject, name, public.ID(), stored.Digest}, err
}

// signedName is what the signer calls the image. A place on the signer's disk
// is no name.
func signedName(as string, ref transport.Ref) (string, error) {
	if as == "" && ref.Kind != transport.Registry {
		return "", nil
	}
	if as == "" {
		as = ref.Remote.Name()
	}
	n, err := cosign.ParseName(as)
	n.Digest = "" // the signature has it
	return n.String(), err
}

func (i Installation) signingKey(ctx context.Context, path string) (crypto.Signer, error) {
	if path == "" {
		ring, err := i.Ring(ctx)
		if err != nil {
			return nil, err
		}
		return ring.Pair(keys.Image).Key, nil
	}
	raw, err := input.ReadFile(path, input.Key)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf(`%s: want a PEM block "PRIVATE KEY" (PKCS #8, not encrypted)`, path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s: is no key that signs, in PKCS #8", path)
	}
	return signer, nil
}
