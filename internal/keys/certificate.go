package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"time"

	"holdfast/internal/sign"
)

type algorithm int

const (
	p256 algorithm = iota
	rsa2048
	ed25519Alg
)

// A kind is what a key is for.
type kind struct {
	name    string
	purpose string
	alg     algorithm
	isCA    bool
	usages  []x509.ExtKeyUsage
	oids    []asn1.ObjectIdentifier // usages that crypto/x509 has no name for
	later   bool                    // folders made before it existed lack it
}

// kinds lists the keys in the order they are made: the root first.
var kinds = []kind{
	{name: Root, purpose: "certifies the others", alg: p256, isCA: true},
	{name: PK, purpose: "owns a machine's Secure Boot", alg: rsa2048},
	{name: KEK, purpose: "may change which signers firmware accepts", alg: rsa2048},
	{name: DB, purpose: "signs machine images for Secure Boot", alg: rsa2048, usages: codeSigning},
	{name: Image, purpose: "signs statements about images", alg: ed25519Alg, usages: codeSigning},
	{name: TLS, purpose: "vouches for registry and broker", alg: p256, isCA: true},
	{name: Admin, purpose: "administers the broker", alg: ed25519Alg, usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
	{name: Token, purpose: "signs the broker's attestation results", alg: p256},
	{name: Broker, purpose: "signs the broker's proofs of release", alg: ed25519Alg,
		oids: []asn1.ObjectIdentifier{sign.DocumentSigning}, later: true},
	{name: Login, purpose: "signs the tokens of who logged in to the registry", alg: ed25519Alg, later: true},
	{name: Peer, purpose: "names this node among its peers", alg: ed25519Alg, later: true},
}

var codeSigning = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}

// Names lists the keys, the root first.
func Names() []string {
	var list []string
	for _, k := range kinds {
		list = append(list, k.name)
	}
	return list
}

// Purpose says in a few words what the key called name is for.
func Purpose(name string) string {
	for _, k := range kinds {
		if k.name == name {
			return k.purpose
		}
	}
	return ""
}

const (
	lifetime     = 20 * 365 * 24 * time.Hour
	leafLifetime = 90 * 24 * time.Hour
	clockSkew    = time.Hour // a certificate is valid on machines whose clock is late
)

// issue makes the key that k describes, certified by the root, or by itself
// when it is the root.
func (r *Ring) issue(k kind, now time.Time) (Pair, error) {
	key, err := newKey(k.alg)
	if err != nil {
		return Pair{}, err
	}
	return r.certify(k, key, now)
}

func (r *Ring) certify(k kind, key crypto.Signer, now time.Time) (Pair, error) {
	template, err := newTemplate("Holdfast "+k.name, now, lifetime)
	if err != nil {
		return Pair{}, err
	}
	template.ExtKeyUsage, template.UnknownExtKeyUsage = k.usages, k.oids
	template.IsCA = k.isCA
	if k.isCA {
		template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	}
	parent := Pair{Key: key, Certificate: template}
	if root, ok := r.pairs[Root]; ok {
		parent = root
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.Certificate, key.Public(), parent.Key)
	if err != nil {
		return Pair{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return Pair{Key: key, Certificate: cert}, err
}

// Server makes a TLS certificate for hosts (names or addresses), vouched for
// by the TLS CA. Its key lives in memory only.
func (r *Ring) Server(now time.Time, hosts ...string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template, err := newTemplate("Holdfast server", now, leafLifetime)
	if err != nil {
		return tls.Certificate{}, err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			continue
		}
		template.DNSNames = append(template.DNSNames, h)
	}
	ca := r.pairs[TLS]
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Certificate, key.Public(), ca.Key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der, ca.Certificate.Raw}, PrivateKey: key, Leaf: leaf}, err
}

// Statements signs statements about images.
func (r *Ring) Statements() sign.Signer {
	return r.signer(Image)
}

// Releases signs the broker's proofs of release.
func (r *Ring) Releases() sign.Signer { return r.signer(Broker) }

// Peer is the key by which other nodes know this one.
func (r *Ring) Peer() ed25519.PrivateKey { return r.pairs[Peer].Key.(ed25519.PrivateKey) }

func (r *Ring) signer(name string) sign.Signer {
	p := r.pairs[name]
	return sign.Signer{Key: p.Key.(ed25519.PrivateKey), Certificate: p.Certificate}
}

func newTemplate(name string, now time.Time, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-clockSkew).UTC(),
		NotAfter:              now.Add(life).UTC(),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}, nil
}
