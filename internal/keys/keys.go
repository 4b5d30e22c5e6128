// Package keys keeps the keys of one Holdfast installation in a folder.
//
// One root certifies all others; whoever knows the root's certificate can
// check everything the installation signed. Private keys are PKCS #8 in files
// that only their owner can read, and they never leave this package except as
// a crypto.Signer.
package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
)

// The names of the keys, which are also their file names.
const (
	Root   = "root"   // ECDSA P-256: certifies the others
	PK     = "pk"     // RSA-2048: owner of a machine's Secure Boot
	KEK    = "kek"    // RSA-2048: may change db
	DB     = "db"     // RSA-2048: signs UKIs
	Image  = "image"  // Ed25519: signs statements about images
	TLS    = "tls"    // ECDSA P-256 CA: vouches for our servers
	Admin  = "admin"  // Ed25519: speaks to the broker as its administrator
	Token  = "token"  // ECDSA P-256: the broker's, for attestation results
	Broker = "broker" // Ed25519: the broker's, for proofs of release
	Login  = "login"  // Ed25519: the registry's, for the tokens of who logged in
	Peer   = "peer"   // Ed25519: names this node among its peers
)

// ErrExist says that the folder already holds a root.
var ErrExist = errors.New("keys exist already")

// ErrNotExist says that the folder holds no root.
var ErrNotExist = errors.New("no keys")

// A Pair is a key with its certificate.
type Pair struct {
	Key         crypto.Signer
	Certificate *x509.Certificate
}

// A Ring is an opened folder of keys.
type Ring struct {
	dir   string
	pairs map[string]Pair
}

// Init makes all keys in dir at time now, or fails with ErrExist.
func Init(ctx context.Context, dir string, now time.Time) (*Ring, error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, err
	}
	unlock, err := atomicfile.Lock(ctx, dir+".lock")
	if err != nil {
		return nil, err
	}
	defer unlock()
	if _, err := os.Lstat(dir); err == nil {
		return nil, fmt.Errorf("%s: %w", dir, ErrExist)
	}
	return create(dir, now)
}

// OpenOrInit opens dir, making its keys first when there are none; made says
// which it was.
func OpenOrInit(ctx context.Context, dir string, now time.Time) (ring *Ring, made bool, err error) {
	if ring, err = Open(ctx, dir, now); !errors.Is(err, ErrNotExist) {
		return ring, false, err
	}
	ring, err = Init(ctx, dir, now)
	if errors.Is(err, ErrExist) { // another process was faster
		ring, err = Open(ctx, dir, now)
		return ring, false, err
	}
	return ring, err == nil, err
}

// Open reads the keys in dir, or fails with ErrNotExist. A key that the folder
// is too old to have is made at time now.
func Open(ctx context.Context, dir string, now time.Time) (*Ring, error) {
	r := &Ring{dir: dir, pairs: map[string]Pair{}}
	for _, k := range kinds {
		p, err := readPair(dir, k.name)
		if errors.Is(err, fs.ErrNotExist) && k.name == Root && absent(dir) {
			return nil, fmt.Errorf("%s: %w", dir, ErrNotExist)
		}
		if errors.Is(err, fs.ErrNotExist) && k.later {
			p, err = r.add(ctx, k, now)
		}
		if errors.Is(err, errMismatch) && k.name == Token {
			p, err = r.mend(ctx, now)
		}
		if err != nil {
			return nil, err
		}
		r.pairs[k.name] = p
	}
	return r, nil
}

func absent(dir string) bool {
	_, err := os.Lstat(dir)
	return errors.Is(err, fs.ErrNotExist)
}

// add makes a key in a folder that lacks it, unless another process has just
// done so. A process that is killed on the way leaves a key without its
// certificate, which the next one replaces.
func (r *Ring) add(ctx context.Context, k kind, now time.Time) (Pair, error) {
	unlock, err := atomicfile.Lock(ctx, r.dir+".lock")
	if err != nil {
		return Pair{}, err
	}
	defer unlock()
	if p, err := readPair(r.dir, k.name); !errors.Is(err, fs.ErrNotExist) {
		return p, err
	}
	p, err := r.issue(k, now)
	if err == nil {
		err = writePair(r.dir, k.name, p)
	}
	if err != nil {
		return Pair{}, fmt.Errorf("make key %s: %w", k.name, err)
	}
	return p, nil
}

// Dir is where the ring lies.
func (r *Ring) Dir() string { return r.dir }

// Pair returns the key called name, one of the constants above.
func (r *Ring) Pair(name string) Pair { return r.pairs[name] }

// RootPool trusts the root and nothing else.
func (r *Ring) RootPool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(r.pairs[Root].Certificate)
	return pool
}

// CertificatePEM is the certificate called name, for others.
func (r *Ring) CertificatePEM(name string) []byte { return certificatePEM(r.pairs[name].Certificate) }

func certificatePEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// PublicPEM is the public key called name, for others.
func (r *Ring) PublicPEM(name string) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(r.pairs[name].Certificate.PublicKey)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), err
}

// create makes the whole ring beside dir and gives it its name last, so that
// a folder of keys is complete or absent. The caller holds the lock.
func create(dir string, now time.Time) (*Ring, error) {
	tmp := dir + ".new"
	if err := errors.Join(os.RemoveAll(tmp), os.Mkdir(tmp, 0o700)); err != nil { // a killed process leaves one
		return nil, err
	}
	defer os.RemoveAll(tmp)
	r := &Ring{dir: dir, pairs: map[string]Pair{}}
	for _, k := range kinds {
		p, err := r.issue(k, now)
		if err != nil {
			return nil, fmt.Errorf("make key %s: %w", k.name, err)
		}
		if err := writePair(tmp, k.name, p); err != nil {
			return nil, err
		}
		r.pairs[k.name] = p
	}
	if err := os.Rename(tmp, dir); err != nil {
		return nil, err
	}
	return r, syncDir(filepath.Dir(dir))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func newKey(alg algorithm) (crypto.Signer, error) {
	switch alg {
	case rsa2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case ed25519Alg:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	default:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
}

func writePair(dir, name string, p Pair) error {
	der, err := x509.MarshalPKCS8PrivateKey(p.Key)
	if err != nil {
		return err
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := atomicfile.WriteFile(filepath.Join(dir, name+".key"), key, 0o600); err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(dir, name+".crt"), certificatePEM(p.Certificate), 0o644)
}

func readPair(dir, name string) (Pair, error) {
	keyDER, err := readPEM(filepath.Join(dir, name+".key"), "PRIVATE KEY")
	if err != nil {
		return Pair{}, err
	}
	certDER, err := readPEM(filepath.Join(dir, name+".crt"), "CERTIFICATE")
	if err != nil {
		return Pair{}, err
	}
	cert, err := x509.ParseCertificate(certDER)
	if err != nil {
		return Pair{}, fmt.Errorf("%s.crt: %w", name, err)
	}
	key, err := x509.ParsePKCS8PrivateKey(keyDER)
	if err != nil {
		return Pair{}, fmt.Errorf("%s.key: not a PKCS #8 key", name)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return Pair{}, fmt.Errorf("%s.key: not a key that signs", name)
	}
	if !samePublic(signer, cert) {
		return Pair{Key: signer}, fmt.Errorf("%s.key: is not the key of %s.crt: %w", name, name, errMismatch)
	}
	return Pair{Key: signer, Certificate: cert}, nil
}

func samePublic(s crypto.Signer, c *x509.Certificate) bool {
	k, ok := s.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(c.PublicKey)
}

func readPEM(path, kind string) ([]byte, error) {
	raw, err := input.ReadFile(path, input.Key)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s: want one PEM block of type %s", path, kind)
	}
	return block.Bytes, nil
}
