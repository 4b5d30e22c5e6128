// Package makers holds the certificates of those who make TPMs.
//
// They are data with its source, in README.md, and trusted by nobody who does
// not ask for them.
package makers

import (
	"crypto/x509"
	_ "embed" // the certificates
	"encoding/pem"
	"fmt"
)

//go:embed roots.pem
var roots []byte

//go:embed intermediates.pem
var intermediates []byte

// Roots are PEM certificates, each of which vouches for TPMs.
func Roots() []byte { return roots }

// Intermediates stand between certificates in TPMs and roots: makers leave
// them on their sites rather than in the TPM.
func Intermediates() ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for block, rest := pem.Decode(intermediates); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("intermediate %d of the makers of TPMs: %w", len(all), err)
		}
		all = append(all, cert)
	}
	return all, nil
}
