package attest

import (
	"crypto/sha512"
	"encoding/json"
	"fmt"

	"github.com/gowebpki/jcs"

	"holdfast/internal/api"
)

// HashAlgorithm is the only one we select in a KBS challenge.
const HashAlgorithm = "sha384"

// RuntimeDigest is what primary evidence signs: SHA-384 (48 bytes) over the
// RFC 8785 canonical JSON of nonce, ephemeral key and additional evidence, as
// KBS 0.4.0 has it.
func RuntimeDigest(data api.RuntimeData, additional string) ([]byte, error) {
	if text, ok := appendPlain(make([]byte, 0, 1<<10), data, additional); ok {
		sum := sha512.Sum384(text)
		return sum[:], nil
	}
	return canonicalDigest(struct {
		TEEPubKey  json.RawMessage `json:"tee-pubkey"`
		Nonce      string          `json:"nonce"`
		Additional string          `json:"additional-evidence"`
	}{data.TEEPubKey, data.Nonce, additional})
}

// DeviceDigest is what the evidence of additional devices signs: the same
// without what they are themselves part of.
func DeviceDigest(data api.RuntimeData) ([]byte, error) { return canonicalDigest(data) }

func canonicalDigest(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("runtime data: %w: %w", ErrMalformed, err)
	}
	canonical, err := jcs.Transform(text)
	if err != nil {
		return nil, fmt.Errorf("runtime data: %w: %w", ErrMalformed, err)
	}
	sum := sha512.Sum384(canonical)
	return sum[:], nil
}
