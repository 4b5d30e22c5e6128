// Package oci holds the OCI vocabulary that every part shares: digests,
// references and the annotations that Holdfast reads and writes.
//
// Documents (manifest, config, index) are the types of
// github.com/opencontainers/image-spec; nothing here touches disk or network.
package oci

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// A Digest names bytes by their hash, as in "sha256:9ab…".
// https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#digests
type Digest string

var digestForm = regexp.MustCompile(`^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$`)

// ParseDigest accepts registered algorithms in lower-case hex, nothing else.
func ParseDigest(s string) (Digest, error) {
	if !digestForm.MatchString(s) {
		return "", fmt.Errorf("digest %.80q: want sha256:<64 hex digits> or sha512:<128>", s)
	}
	return Digest(s), nil
}

// SHA256 is the digest of b.
func SHA256(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// Algorithm is the part before the colon.
func (d Digest) Algorithm() string { a, _, _ := strings.Cut(string(d), ":"); return a }

// Hex is the part after the colon.
func (d Digest) Hex() string { _, h, _ := strings.Cut(string(d), ":"); return h }

// Short is enough of the digest for a person: twelve hex digits.
func (d Digest) Short() string { return d.Hex()[:min(12, len(d.Hex()))] }
