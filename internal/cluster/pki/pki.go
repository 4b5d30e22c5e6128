// Package pki certifies the components of a cluster: one authority for its API, one for
// etcd and one for who speaks to extension servers in others' names.
//
// Keys are made once and lie in a folder of their own. A certificate can be made anew
// over the key that it has, from nothing but itself.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/ca"
	"holdfast/internal/input"
)

// How long certificates are good. Those of components are made anew by every create that
// starts a node, and by package renewer; kubelets ask for their own as soon as they run, and renew those.
const (
	authorityLife = 10 * 365 * 24 * time.Hour
	// LeafLife is that of a component's certificate.
	LeafLife = 365 * 24 * time.Hour
	skew     = 5 * time.Minute
)

// An Authority signs certificates of one kind.
type Authority struct {
	Cert *x509.Certificate
	PEM  []byte // of Cert
	key  crypto.Signer
}

// A Pair is a certificate and its key, in PEM.
type Pair struct{ Cert, Key []byte }

// A Subject is who a certificate is for. Without names it is a client's.
type Subject struct {
	Name   string // user, where it is a client's
	Groups []string
	DNS    []string
	IPs    []netip.Addr
}

// open reads the authority called name in dir, or makes it.
func open(dir, name string, now time.Time) (*Authority, error) {
	key, err := openKey(filepath.Join(dir, name+".key"))
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, name+".crt")
	raw, err := input.ReadFile(path, input.Key)
	if errors.Is(err, fs.ErrNotExist) {
		if raw, err = selfSigned(name, key, now); err == nil {
			err = atomicfile.WriteFile(path, raw, 0o644)
		}
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%s: want a certificate in PEM form", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("%s: its key is another one", path)
	}
	return &Authority{cert, raw, key}, nil
}

func selfSigned(name string, key *ecdsa.PrivateKey, now time.Time) ([]byte, error) {
	template := &x509.Certificate{
		SerialNumber: ca.Serial(), Subject: pkix.Name{CommonName: "holdfast " + name},
		NotBefore: now.Add(-skew), NotAfter: now.Add(authorityLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		IsCA:     true, BasicConstraintsValid: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return ca.PEM(der), err
}

// openKey reads a private key, or makes it. Only its owner may read it.
func openKey(path string) (*ecdsa.PrivateKey, error) {
	raw, err := input.ReadFile(path, input.Key)
	if errors.Is(err, fs.ErrNotExist) {
		if raw, _, err = newKey(); err == nil {
			err = atomicfile.WriteFile(path, raw, 0o600)
		}
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%s: want a private key in PEM form", path)
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

func newKey() ([]byte, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), key, err
}

// Issue makes a key and certifies it for s.
func (a *Authority) Issue(s Subject, now time.Time, life time.Duration) (Pair, error) {
	raw, key, err := newKey()
	if err != nil {
		return Pair{}, err
	}
	template := &x509.Certificate{
		SerialNumber: ca.Serial(), Subject: pkix.Name{CommonName: s.Name, Organization: s.Groups},
		NotBefore: now.Add(-skew), NotAfter: a.until(now, life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true, DNSNames: s.DNS,
	}
	if len(s.DNS)+len(s.IPs) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, ip := range s.IPs {
		template.IPAddresses = append(template.IPAddresses, net.IP(ip.AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Cert, key.Public(), a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("certificate of %s: %w", s.Name, err)
	}
	return Pair{ca.PEM(der), raw}, nil
}

// until keeps a certificate from outliving its authority.
func (a *Authority) until(now time.Time, life time.Duration) time.Time {
	if end := now.Add(life); end.Before(a.Cert.NotAfter) {
		return end
	}
	return a.Cert.NotAfter
}

// Certify makes the certificate cert anew for another time: for the same key, the same
// names and uses.
func (a *Authority) Certify(cert *x509.Certificate, from, until time.Time) ([]byte, error) {
	template := &x509.Certificate{
		SerialNumber: ca.Serial(), Subject: cert.Subject, NotBefore: from, NotAfter: until,
		KeyUsage: cert.KeyUsage, ExtKeyUsage: cert.ExtKeyUsage,
		BasicConstraintsValid: true, DNSNames: cert.DNSNames, IPAddresses: cert.IPAddresses,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Cert, cert.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", cert.Subject.CommonName, err)
	}
	return ca.PEM(der), nil
}

// Keys are those that a cluster rests on.
type Keys struct {
	Cluster, FrontProxy, Etcd *Authority
	Accounts                  *ecdsa.PrivateKey // signs tokens of service accounts
}

// Open reads the keys in dir, and makes those that are not there.
func Open(dir string, now time.Time) (p Keys, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return p, err
	}
	for name, to := range map[string]**Authority{"ca": &p.Cluster, "front-proxy-ca": &p.FrontProxy, "etcd-ca": &p.Etcd} {
		if *to, err = open(dir, name, now); err != nil {
			return p, err
		}
	}
	p.Accounts, err = openKey(filepath.Join(dir, "accounts.key"))
	return p, err
}

// Renew makes a component's certificate anew by the authority that signed it.
func (p Keys) Renew(cert *x509.Certificate, now time.Time) ([]byte, error) {
	for _, a := range []*Authority{p.Cluster, p.FrontProxy, p.Etcd} {
		if cert.CheckSignatureFrom(a.Cert) == nil {
			return a.Certify(cert, now.Add(-skew), a.until(now, LeafLife))
		}
	}
	return nil, fmt.Errorf("certificate of %s: no authority of the cluster signed it", cert.Subject.CommonName)
}
