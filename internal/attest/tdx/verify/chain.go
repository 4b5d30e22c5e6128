package verify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"

	"holdfast/internal/attest"
	"holdfast/internal/attest/tdx"
)

//go:embed roots/intel.pem
var intelRoot []byte

// intel is Intel's SGX root CA.
func intel() (*x509.Certificate, error) {
	block, _ := pem.Decode(intelRoot)
	return x509.ParseCertificate(block.Bytes)
}

// certificates reads a chain in PEM, at most ten of it.
func certificates(raw []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for block, rest := pem.Decode(raw); block != nil && len(list) < 10; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate: %w", attest.ErrMalformed, err)
		}
		list = append(list, cert)
	}
	return list, nil
}

// The names of the certificates: Intel SGX PCK Certificate and CRL Profile
// Specification, section 1.3.
var pckAuthorities = []string{"Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA"}

const pckName = "Intel SGX PCK Certificate"

// platform finds the key of the platform in a quote's chain, and whether Intel
// stands by it.
func (v *Verifier) platform(chain []byte) (*platform, error) {
	leaf, middle, err := v.chain(chain)
	if err != nil {
		return nil, err
	}
	for _, link := range [][2]*x509.Certificate{{middle, v.root}, {leaf, middle}} {
		if err := v.standsBy(link[0], link[1]); err != nil {
			return nil, err
		}
	}
	return newPlatform(leaf)
}

// chain reads a quote's three certificates, whose signatures are good when it
// has no error. The root is ours; the quote's has to be the same.
func (v *Verifier) chain(raw []byte) (leaf, middle *x509.Certificate, err error) {
	list, err := certificates(raw)
	if err != nil {
		return nil, nil, err
	}
	if len(list) != 3 {
		return nil, nil, fmt.Errorf("%w: the quote has %d certificates, expected PCK certificate, its authority and the root", attest.ErrMalformed, len(list))
	}
	leaf, middle = list[0], list[1]
	if leaf.Subject.CommonName != pckName || !slices.Contains(pckAuthorities, middle.Subject.CommonName) {
		return nil, nil, fmt.Errorf("%w: certificates of %.80q by %.80q, expected a PCK certificate by a PCK authority", attest.ErrEndorsement, leaf.Subject.CommonName, middle.Subject.CommonName)
	}
	if !list[2].Equal(v.root) {
		return nil, nil, fmt.Errorf("%w: the quote's root is another %.80q", attest.ErrEndorsement, list[2].Subject.CommonName)
	}
	if err := certified(middle, v.root); err != nil {
		return nil, nil, err
	}
	return leaf, middle, certified(leaf, middle)
}

func certified(cert, issuer *x509.Certificate) error {
	if !bytes.Equal(cert.RawIssuer, issuer.RawSubject) || cert.CheckSignatureFrom(issuer) != nil {
		return fmt.Errorf("%w: %s is not certified by %s", attest.ErrEndorsement, cert.Subject.CommonName, issuer.Subject.CommonName)
	}
	return nil
}

// standsBy checks time and the issuer's list of what it revoked, which must be
// there.
func (v *Verifier) standsBy(cert, issuer *x509.Certificate) error {
	now := v.clock()
	for _, c := range []*x509.Certificate{cert, issuer} {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			return fmt.Errorf("%w: %s is good from %s to %s", attest.ErrExpired, c.Subject.CommonName, c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly))
		}
	}
	list := v.known.listOf(issuer, now)
	if list == nil {
		return fmt.Errorf("%w: no list of what %s revoked is given that is good on %s", attest.ErrCollateral, issuer.Subject.CommonName, now.Format(time.DateOnly))
	}
	for _, entry := range list.RevokedCertificateEntries {
		if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 {
			return fmt.Errorf("%w: %s, on %s", attest.ErrRevoked, cert.Subject.CommonName, entry.RevocationTime.Format(time.DateOnly))
		}
	}
	return nil
}

// signatures checks that the platform vouches for the quoting enclave, this
// for the attestation key, and this for the TD's report.
func signatures(q *tdx.Quote, pck *x509.Certificate) error {
	key, ok := pck.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return fmt.Errorf("%w: PCK is no P-256 key", attest.ErrEndorsement)
	}
	if !signed(key, q.QE.Report, q.QE.Signature) {
		return fmt.Errorf("%w: report of the quoting enclave", attest.ErrSignature)
	}
	want := sha256.Sum256(append(slices.Clone(q.Key), q.QE.Extra...))
	if got := q.QE.Report[320:384]; !bytes.Equal(got, attest.Fit(want[:], 64)) {
		return fmt.Errorf("%w: the quoting enclave vouches for %x, the key's digest is %x", attest.ErrAttestationKey, got[:32], want)
	}
	own, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, q.Key...))
	if err != nil {
		return fmt.Errorf("%w: attestation key: %w", attest.ErrMalformed, err)
	}
	if !signed(own, q.Signed, q.Signature) {
		return fmt.Errorf("%w: TDX quote", attest.ErrSignature)
	}
	return nil
}

// signed checks a signature that is two big-endian numbers of 32 bytes.
func signed(key *ecdsa.PublicKey, message, signature []byte) bool {
	if len(signature) != 64 {
		return false
	}
	sum := sha256.Sum256(message)
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	return ecdsa.Verify(key, sum[:], r, s)
}
