package broker

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"holdfast/internal/proof"
)

// An Issuer is another verifier whose tokens count as attestations here: the
// passport model of RATS (RFC 9334, section 5.1). Policy finds its name in the
// token as input.iss.
type Issuer struct {
	Name string // the iss of its tokens, exactly

	// Keys are the issuer's by their IDs (kid). A token that names none may be
	// signed by any.
	Keys map[string]crypto.PublicKey
	// Roots vouch for keys that come with a chain of certificates in the
	// token's header (x5c), as Trustee's do. Optional.
	Roots *x509.CertPool
}

// foreign checks who signed a token that is not of this broker.
func (m *tokenMaker) foreign(t *unverified) error {
	var trusted []Issuer
	if m.issuers != nil {
		trusted = m.issuers()
	}
	known, err := t.ofOne(trusted, m.now())
	if !known {
		return fmt.Errorf("its issuer is %.80q, not %q nor another that this broker trusts", t.claims.Issuer, m.issuer)
	}
	return err
}

// OpenPassport judges another verifier's token as a broker did at a time that
// trusts these.
func OpenPassport(token string, trusted []Issuer, at time.Time) (*proof.Passport, error) {
	t, err := readToken(token)
	if err != nil {
		return nil, err
	}
	known, err := t.ofOne(trusted, at)
	if !known {
		return nil, fmt.Errorf("its issuer is %.80q, whose tokens the reader does not take", t.claims.Issuer)
	}
	if err == nil {
		err = t.timely(at, true)
	}
	if err != nil {
		return nil, err
	}
	p := &proof.Passport{Issuer: t.claims.Issuer, Session: sessionReference(t.payload)}
	return p, exactly(t.payload, &p.Claims)
}

// ofOne tells whether the token names one of those who are trusted, and checks
// that it is his.
func (t *unverified) ofOne(trusted []Issuer, now time.Time) (known bool, err error) {
	i := slices.IndexFunc(trusted, func(i Issuer) bool { return i.Name == t.claims.Issuer })
	if i < 0 || t.claims.Issuer == "" {
		return false, nil
	}
	return true, trusted[i].signed(t, now)
}

func (i Issuer) signed(t *unverified, now time.Time) error {
	who := fmt.Sprintf("the issuer %q", i.Name)
	if i.Roots == nil {
		return t.signedBy(i.Keys, who, signatureAlgorithms...)
	}
	key, err := i.vouched(t, now)
	if err != nil {
		return fmt.Errorf("no root of %s vouches for its key: %w", who, err)
	}
	if key == nil {
		return t.signedBy(i.Keys, who, signatureAlgorithms...)
	}
	// An ID names a key within the set it came in: here, that of one.
	return t.signedBy(map[string]crypto.PublicKey{t.header.KeyID: key}, who, signatureAlgorithms...)
}

// vouched is the key of the chain that comes with a token, where it leads to
// one of the issuer's roots: the chain of the header's key, where Trustee has
// it, or the header's own (RFC 7515, 4.1.6). It is nil when there is none.
func (i Issuer) vouched(t *unverified, now time.Time) (crypto.PublicKey, error) {
	options := x509.VerifyOptions{Roots: i.Roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	if jwk := t.header.JSONWebKey; jwk != nil && len(jwk.Certificates) > 0 {
		return vouchedKey(jwk, options)
	}
	chains, err := t.header.Certificates(options)
	if err == nil {
		return chains[0][0].PublicKey, nil
	}
	if _, has := t.header.ExtraHeaders["x5c"]; has || !strings.Contains(err.Error(), "no x5c header") {
		return nil, err
	}
	return nil, nil
}

func vouchedKey(jwk *jose.JSONWebKey, options x509.VerifyOptions) (crypto.PublicKey, error) {
	options.Intermediates = x509.NewCertPool()
	for _, c := range jwk.Certificates[1:] {
		options.Intermediates.AddCert(c)
	}
	leaf := jwk.Certificates[0]
	if _, err := leaf.Verify(options); err != nil {
		return nil, err
	}
	if key, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !key.Equal(jwk.Key) {
		return nil, errors.New("the key in its header is not that of its certificate")
	}
	return leaf.PublicKey, nil
}

// suits keeps a key to the algorithms of its own type (RFC 8725, 3.1).
func suits(key crypto.PublicKey, alg jose.SignatureAlgorithm, allowed []jose.SignatureAlgorithm) bool {
	if !slices.Contains(allowed, alg) {
		return false
	}
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return alg == jose.ES256 && k.Curve == elliptic.P256() || alg == jose.ES384 && k.Curve == elliptic.P384()
	case ed25519.PublicKey:
		return alg == jose.EdDSA
	case *rsa.PublicKey:
		return k.N.BitLen() >= 2048 && slices.Contains([]jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.RS384, jose.PS384}, alg)
	}
	return false
}
