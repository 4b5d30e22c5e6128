// Package ca certifies what runs in machines that proved themselves.
//
// A certificate is an X.509-SVID (SPIFFE): it lives an hour, and its one name is
// a URI in the installation's trust domain that says which resource it was
// given as. Authorities overlap: a new one is in the bundle before it
// signs, and an old one stays in it as long as anything it signed is good, so
// that nobody meets a certificate that his bundle does not vouch for.
package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"regexp"
	"time"
)

// Errors that a caller may branch on.
var (
	// ErrNone says that there is no authority: nothing is certified.
	ErrNone = errors.New("there is no certificate authority")
	// ErrRequest says what is wrong with a request.
	ErrRequest = errors.New("certificate request")
)

const (
	// Life is how long a certificate is good, unless Config says otherwise.
	Life = time.Hour
	// Overlap is how long a new authority is published at least before it signs:
	// twice the time after which readers look at the bundle again.
	Overlap = 2 * RefreshHint
	// RefreshHint is how often the bundle should be read.
	RefreshHint = 5 * time.Minute
	// skew is how far the clock of a reader may be late.
	skew = time.Minute
	// authorityLife is how long an authority is good.
	authorityLife = 5 * 365 * 24 * time.Hour
)

// An Issued certificate and what its holder needs beside it.
type Issued struct {
	ID          string    `json:"spiffe_id"`
	Certificate string    `json:"certificate"` // PEM
	Bundle      string    `json:"bundle"`      // PEM of all authorities
	Expires     time.Time `json:"expires"`
}

// Issue certifies key as path, below the trust domain, at the time of the
// folder's clock.
func (f *Folder) Issue(ctx context.Context, path string, key crypto.PublicKey) (*Issued, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	now := f.now()
	all, err := f.read(ctx)
	if err != nil {
		return nil, err
	}
	authority := all.signing(now)
	if authority == nil {
		return nil, ErrNone
	}
	signer, err := f.signer(ctx, authority)
	if err != nil {
		return nil, err
	}
	template := leaf(authority.domain(), path, now, min(all.lifeOf(authority), authority.cert.NotAfter.Sub(now)))
	der, err := x509.CreateCertificate(rand.Reader, template, authority.cert, key, signer)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate: %w", err)
	}
	return &Issued{
		ID: template.URIs[0].String(), Certificate: string(PEM(der)), Bundle: string(all.bundle(now)),
		Expires: template.NotAfter,
	}, nil
}

// leaf is what X509-SVID.md of the SPIFFE standards asks of a certificate:
// section 2 one URI, 4.1 no authority, 4.3 the key signs, 4.4 both sides of TLS.
func leaf(domain, path string, now time.Time, life time.Duration) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: Serial(),
		URIs:         []*url.URL{{Scheme: "spiffe", Host: domain, Path: "/" + path}},
		NotBefore:    now.Add(-skew).UTC(), NotAfter: now.Add(life).UTC().Truncate(time.Second),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
}

// Serial is 128 random bits, never zero.
func Serial() *big.Int {
	raw := make([]byte, 16)
	for {
		_, _ = rand.Read(raw)
		if n := new(big.Int).SetBytes(raw); n.Sign() > 0 {
			return n
		}
	}
}

// checkKey refuses keys that are too weak to be certified.
func checkKey(key crypto.PublicKey) error {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() || k.Curve == elliptic.P521() {
			return nil
		}
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits >= 2048 && bits <= 8192 {
			return nil
		}
	}
	return fmt.Errorf("%w: a key of type %T, or of its size, is not certified: want ECDSA P-256, P-384 or P-521, Ed25519, or RSA of 2048 to 8192 bits", ErrRequest, key)
}

// ParseRequest reads a PKCS #10 request, DER or PEM, and returns its key, which
// signed it. The only name that it may ask for is the one that it gets.
func ParseRequest(raw []byte, id string) (crypto.PublicKey, error) {
	if block, rest := pem.Decode(raw); block != nil {
		if block.Type != "CERTIFICATE REQUEST" || len(rest) > 0 {
			return nil, fmt.Errorf("%w: want one PEM block of type CERTIFICATE REQUEST", ErrRequest)
		}
		raw = block.Bytes
	}
	request, err := x509.ParseCertificateRequest(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: it is not signed by its own key: %w", ErrRequest, err)
	}
	if len(request.DNSNames)+len(request.EmailAddresses)+len(request.IPAddresses) > 0 {
		return nil, fmt.Errorf("%w: it asks for names that are no SPIFFE ID", ErrRequest)
	}
	for _, uri := range request.URIs {
		if uri.String() != id {
			return nil, fmt.Errorf("%w: it asks for %.200q, and would get %s", ErrRequest, uri, id)
		}
	}
	return request.PublicKey, checkKey(request.PublicKey)
}

// domainForm is a trust domain name, SPIFFE-ID.md, section 2.1.
var domainForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,253}[a-z0-9])?$`)

// CheckDomain says whether name can be a trust domain.
func CheckDomain(name string) error {
	if !domainForm.MatchString(name) {
		return fmt.Errorf("trust domain %.80q: want lower case letters, digits, dots and hyphens, like machines.example.org", name)
	}
	return nil
}

// authority is the template of one's own certificate, which no other trust
// domain has to believe.
func authorityTemplate(domain, id string, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: Serial(),
		Subject:      pkix.Name{Organization: []string{domain}, CommonName: "Holdfast " + id}, // tells authorities apart
		URIs:         []*url.URL{{Scheme: "spiffe", Host: domain}},
		NotBefore:    now.Add(-skew).UTC(), NotAfter: now.Add(authorityLife).UTC(),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:     true, BasicConstraintsValid: true, MaxPathLenZero: true,
		PermittedURIDomains: []string{domain}, PermittedDNSDomainsCritical: true,
	}
}

// PEM is a certificate in that form.
func PEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
