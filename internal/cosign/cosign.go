// Package cosign makes and checks signatures of container images in the
// formats of cosign, and decides by policy which of them an image needs.
//
// A signature names an image by its digest, so it is of those bytes wherever
// they lie and whoever brought them. The current form is a Sigstore bundle, an
// in-toto statement in a DSSE envelope, that refers to the image; the older
// one, which is read and not written, is a layer of the tag sha256-….sig.
// Keys are given: neither certificates nor transparency logs are asked.
//
//	https://github.com/sigstore/protobuf-specs/blob/v0.5.1/protos/sigstore_bundle.proto
//	https://github.com/sigstore/cosign/blob/v3.1.2/specs/SIGNATURE_SPEC.md
package cosign

import (
	"errors"
	"strings"

	"holdfast/internal/oci"
)

// Media types of what is stored beside an image.
const (
	BundleType  = "application/vnd.dev.sigstore.bundle.v0.3+json"
	SimpleType  = "application/vnd.dev.cosign.simplesigning.v1+json"
	bundleTypes = "application/vnd.dev.sigstore.bundle" // and a version
)

// PredicateType is that of the statement in a bundle which signs an image.
const PredicateType = "https://sigstore.dev/cosign/sign/v1"

// What a verifier may branch on.
var (
	ErrUnsigned = errors.New("no signature is beside it")
	ErrKey      = errors.New("no given key made it")
	ErrImage    = errors.New("it is of another image")
)

// A Format is how a signature is stored.
type Format string

// The formats.
const (
	Bundle Format = "bundle" // a Sigstore bundle that refers to the image
	Simple Format = "simple" // the older payload of simple signing
)

// A Signature is what somebody says of an image; nothing of it is believed
// until Check was called.
type Signature struct {
	Format      Format
	Source      oci.Digest     // of the blob that it was read from
	Images      []oci.Digest   // that it speaks of
	Name        string         // of the image, as the signer knew it; may be empty
	Annotations map[string]any // what else the signer says
	message     []byte         // the signed bytes
	sig         []byte
}

// Check finds the one of keys that made s of that image.
func (s Signature) Check(image oci.Digest, keys []Key) (Key, error) {
	for _, k := range keys {
		if k.Verify(s.message, s.sig) {
			return k, s.checkImage(image)
		}
	}
	return Key{}, ErrKey
}

func (s Signature) checkImage(image oci.Digest) error {
	for _, d := range s.Images {
		if d == image {
			return nil
		}
	}
	return ErrImage
}

// Tag is the one that holds an image's signatures in the older form.
func Tag(image oci.Digest) string {
	return strings.Replace(string(image), ":", "-", 1) + ".sig"
}
