package cosign

import (
	"encoding/base64"
	"fmt"

	"holdfast/internal/input"
	"holdfast/internal/oci"
)

// The older form: a layer whose bytes are the payload, and whose annotation is
// the signature over them.
const (
	signatureAnnotation = "dev.cosignproject.cosign/signature"
	simpleClaim         = "cosign container image signature"
)

// simplePayload is cosign's use of the payload of simple signing.
// https://github.com/containers/image/blob/v5.36.2/docs/containers-signature.5.md
type simplePayload struct {
	Critical struct {
		Type  string `json:"type"`
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
	} `json:"critical"`
	Optional map[string]any `json:"optional"`
}

// ParseSimple reads a payload of simple signing, and its signature in base64.
func ParseSimple(payload []byte, signature string) (Signature, error) {
	var p simplePayload
	if err := input.JSON(payload, &p); err != nil {
		return Signature{}, fmt.Errorf("simple signing: %w", err)
	}
	if p.Critical.Type != simpleClaim {
		return Signature{}, fmt.Errorf("simple signing: type %.80q: want %q", p.Critical.Type, simpleClaim)
	}
	d, err := oci.ParseDigest(p.Critical.Image.Digest)
	if err != nil {
		return Signature{}, fmt.Errorf("simple signing: %w", err)
	}
	sig, err := base64.StdEncoding.DecodeString(signature)
	if err != nil || len(sig) == 0 {
		return Signature{}, fmt.Errorf("simple signing: annotation %s: want base64", signatureAnnotation)
	}
	return Signature{
		Format: Simple, Source: oci.SHA256(payload), Images: []oci.Digest{d},
		Name: p.Critical.Identity.Reference, Annotations: p.Optional, message: payload, sig: sig,
	}, nil
}
