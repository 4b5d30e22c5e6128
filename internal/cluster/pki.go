package cluster

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
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
)

// How long certificates are good. Those of components are made anew by every
// create that starts a node; kubelets rotate theirs by themselves.
const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 365 * 24 * time.Hour
	superLife     = time.Hour
	skew          = 5 * time.Minute
)

// An authority signs certificates of one kind.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte // of cert
}

// A pair is a certificate and its key, in PEM.
type pair struct{ cert, key []byte }

// A subject is who a certificate is for. Without names it is a client's.
type subject struct {
	name   string // user, where it is a client's
	groups []string
	dns    []string
	ips    []netip.Addr
}

// openAuthority reads the authority called name in dir, or makes it.
func openAuthority(dir, name string, now time.Time) (*authority, error) {
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
	return &authority{cert, key, raw}, nil
}

func selfSigned(name string, key *ecdsa.PrivateKey, now time.Time) ([]byte, error) {
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "holdfast " + name},
		NotBefore: now.Add(-skew), NotAfter: now.Add(authorityLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		IsCA:     true, BasicConstraintsValid: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
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

// issue makes a key and certifies it for s.
func (a *authority) issue(s subject, now time.Time, life time.Duration) (pair, error) {
	raw, key, err := newKey()
	if err != nil {
		return pair{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: s.name, Organization: s.groups},
		NotBefore: now.Add(-skew), NotAfter: now.Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true, DNSNames: s.dns,
	}
	if len(s.dns)+len(s.ips) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, ip := range s.ips {
		template.IPAddresses = append(template.IPAddresses, net.IP(ip.AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return pair{}, fmt.Errorf("certificate of %s: %w", s.name, err)
	}
	return pair{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), raw}, nil
}

// serial is 127 random bits and never zero.
func serial() *big.Int {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw)
	raw[0] = raw[0]&0x7f | 0x40
	return new(big.Int).SetBytes(raw)
}

// pki are the keys that a cluster rests on.
type pki struct {
	cluster, frontProxy, etcd *authority
	accounts                  *ecdsa.PrivateKey // signs tokens of service accounts
}

func openPKI(dir string, now time.Time) (p pki, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return p, err
	}
	for name, to := range map[string]**authority{"ca": &p.cluster, "front-proxy-ca": &p.frontProxy, "etcd-ca": &p.etcd} {
		if *to, err = openAuthority(dir, name, now); err != nil {
			return p, err
		}
	}
	p.accounts, err = openKey(filepath.Join(dir, "accounts.key"))
	return p, err
}
