package ca

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
)

// Config says where authorities are. Dir must be set.
type Config struct {
	Dir string // a record for each; made by the first Rotate
	HSM HSM    // nil when there is none

	Life time.Duration    // of certificates; an hour when 0
	Now  func() time.Time // time.Now when nil
}

// An HSM holds keys that sign.
type HSM interface {
	// Generate makes an ECDSA P-256 key that never leaves.
	Generate(ctx context.Context, label string) error
	Signer(ctx context.Context, label string) (crypto.Signer, error)
}

// A Folder holds authorities. Processes may share it.
type Folder struct {
	dir  string
	hsm  HSM
	life time.Duration
	now  func() time.Time

	mu      sync.Mutex // guards all below
	all     authorities
	stamp   time.Time // of the folder that all was read from
	signers map[string]crypto.Signer
}

// An authority is one record of the folder, ID.json.
type authority struct {
	ID          string    `json:"id"`
	Made        time.Time `json:"made"`
	Active      time.Time `json:"active"` // from then on it signs
	Certificate []byte    `json:"certificate"`
	Key         []byte    `json:"key,omitempty"` // PKCS #8
	HSM         string    `json:"hsm,omitempty"` // or the label of the key
	// Life is how many seconds its certificates are good, 0: as long as usual.
	Life int64 `json:"life,omitempty"`

	cert *x509.Certificate
}

type authorities struct {
	list []authority // the one that is active first comes first
	life time.Duration
}

// New opens the folder. It may be absent as long as there is no authority.
func New(c Config) (*Folder, error) {
	if c.Dir == "" {
		return nil, errors.New("certificate authority: no folder is set")
	}
	f := &Folder{dir: c.Dir, hsm: c.HSM, life: cmp.Or(c.Life, Life), now: c.Now, signers: map[string]crypto.Signer{}}
	if f.now == nil {
		f.now = time.Now
	}
	return f, nil
}

// A Rotation says how the next authority is made.
type Rotation struct {
	Domain string // trust domain; that of the one before when empty
	InHSM  bool   // the key never leaves the HSM
	AtOnce bool   // signs from now on, though readers do not know it yet
	// Life is how long its certificates are good, a minute to a day; the folder's
	// when 0.
	Life time.Duration
}

// The limits of a certificate's life.
const (
	MinLife = time.Minute
	MaxLife = 24 * time.Hour
)

// A Made authority.
type Made struct {
	ID     string    `json:"id"`
	Domain string    `json:"trust_domain"`
	HSM    string    `json:"hsm_key,omitempty"`
	Active time.Time `json:"active"` // when it begins to sign
}

// Rotate makes the next authority. It is in the bundle at once and signs when
// all have had time to read that; the first one signs at once.
func (f *Folder) Rotate(ctx context.Context, r Rotation) (_ *Made, err error) {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return nil, err
	}
	unlock, err := atomicfile.Lock(ctx, f.dir+".lock")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if r.Life != 0 && (r.Life < MinLife || r.Life > MaxLife) {
		return nil, fmt.Errorf("certificates that are good for %v: want %v to %v", r.Life, MinLife, MaxLife)
	}
	before, err := f.read(ctx)
	if err != nil && !errors.Is(err, ErrNone) {
		return nil, err
	}
	a := authority{ID: newID(), Made: f.now().UTC().Truncate(time.Second), Life: int64(r.Life / time.Second)}
	a.Active = a.Made
	if last := len(before.list) - 1; last >= 0 {
		r.Domain = cmp.Or(r.Domain, before.list[last].domain())
		if !r.AtOnce {
			a.Active = a.Made.Add(before.overlap(a.Made))
		}
	}
	if err := CheckDomain(r.Domain); err != nil {
		return nil, err
	}
	if err := f.makeKey(ctx, &a, r); err != nil {
		return nil, fmt.Errorf("make a certificate authority: %w", err)
	}
	raw, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	defer clear(a.Key)
	return &Made{ID: a.ID, Domain: r.Domain, HSM: a.HSM, Active: a.Active}, atomicfile.WriteFile(filepath.Join(f.dir, a.ID+".json"), append(raw, '\n'), 0o600)
}

func newID() string {
	raw := make([]byte, 8)
	_, _ = rand.Read(raw)
	return hex.EncodeToString(raw)
}

// makeKey makes a key and has it certify itself.
func (f *Folder) makeKey(ctx context.Context, a *authority, r Rotation) (err error) {
	var key crypto.Signer
	if r.InHSM {
		if f.hsm == nil {
			return errors.New("no HSM is configured")
		}
		a.HSM = "holdfast-ca-" + a.ID
		if err := f.hsm.Generate(ctx, a.HSM); err != nil {
			return err
		}
		key, err = f.hsm.Signer(ctx, a.HSM)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err == nil {
			a.Key, err = x509.MarshalPKCS8PrivateKey(key)
		}
	}
	if err != nil {
		return err
	}
	template := authorityTemplate(r.Domain, a.ID, a.Made)
	a.Certificate, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return err
}

// read gives the authorities, anew when the folder has changed.
func (f *Folder) read(context.Context) (authorities, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return authorities{}, ErrNone
	}
	if err != nil {
		return authorities{}, err
	}
	// A change within the clock tick of the last one would look like none.
	if info.ModTime().Equal(f.stamp) && time.Since(f.stamp) > time.Second {
		return f.all, nil
	}
	paths, err := filepath.Glob(filepath.Join(f.dir, "*.json"))
	if err != nil {
		return authorities{}, err
	}
	all := authorities{life: f.life}
	for _, path := range paths {
		a, err := readAuthority(path)
		if err != nil {
			return authorities{}, fmt.Errorf("certificate authority %s: %w", path, err)
		}
		all.list = append(all.list, *a)
	}
	slices.SortFunc(all.list, func(x, y authority) int { return cmp.Or(x.Active.Compare(y.Active), cmp.Compare(x.ID, y.ID)) })
	f.all, f.stamp = all, info.ModTime()
	if len(all.list) == 0 {
		return all, ErrNone
	}
	return all, nil
}

func readAuthority(path string) (*authority, error) {
	raw, err := input.ReadFile(path, input.Key)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	var a authority
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, err
	}
	if a.cert, err = x509.ParseCertificate(a.Certificate); err != nil {
		return nil, err
	}
	if life := time.Duration(a.Life) * time.Second; life != 0 && (life < MinLife || life > MaxLife) {
		return nil, errors.New("want a life of its certificates between a minute and a day")
	}
	if len(a.cert.URIs) != 1 || (len(a.Key) == 0) == (a.HSM == "") {
		return nil, errors.New("want a certificate with one URI, and a key or the label of one")
	}
	return &a, nil
}

// lifeOf is how long a certificate of the authority is good.
func (all authorities) lifeOf(a *authority) time.Duration {
	return cmp.Or(time.Duration(a.Life)*time.Second, all.life)
}

func (a *authority) domain() string { return a.cert.URIs[0].Host }

// signing is the authority that has been active for the shortest time.
func (all authorities) signing(now time.Time) *authority {
	for _, a := range slices.Backward(all.list) {
		if !now.Before(a.Active) && now.Before(a.cert.NotAfter) {
			return &a
		}
	}
	return nil
}

// vouching are those whose certificates may be about, or will be: one goes when
// the last that it signed has expired.
func (all authorities) vouching(now time.Time) []authority {
	var out []authority
	for i, a := range all.list {
		replaced := i+1 < len(all.list) && now.After(all.list[i+1].Active.Add(all.lifeOf(&a)+skew))
		if !replaced && now.Before(a.cert.NotAfter) {
			out = append(out, a)
		}
	}
	return out
}

// overlap is how long another authority is published before it signs. Machines
// are given the bundle with their certificates, which they renew at half of
// their life, or RefreshHint later where that fails once.
func (all authorities) overlap(now time.Time) time.Duration {
	wait := Overlap
	for _, a := range all.vouching(now) {
		wait = max(wait, all.lifeOf(&a)/2+RefreshHint+skew)
	}
	return wait
}

func (all authorities) bundle(now time.Time) []byte {
	var out []byte
	for _, a := range all.vouching(now) {
		out = append(out, PEM(a.cert.Raw)...)
	}
	return out
}

// signer finds an authority's key; one in an HSM is looked up once.
func (f *Folder) signer(ctx context.Context, a *authority) (crypto.Signer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s, ok := f.signers[a.ID]; ok {
		return s, nil
	}
	s, err := f.openSigner(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("certificate authority %s: %w", a.ID, err)
	}
	if k, ok := s.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !k.Equal(a.cert.PublicKey) {
		return nil, fmt.Errorf("certificate authority %s: its key is not the one of its certificate", a.ID)
	}
	f.signers[a.ID] = s
	return s, nil
}

func (f *Folder) openSigner(ctx context.Context, a *authority) (crypto.Signer, error) {
	if a.HSM != "" {
		if f.hsm == nil {
			return nil, errors.New("its key is in an HSM, and none is configured")
		}
		return f.hsm.Signer(ctx, a.HSM)
	}
	key, err := x509.ParsePKCS8PrivateKey(a.Key)
	if err != nil {
		return nil, err
	}
	s, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("its key cannot sign")
	}
	return s, nil
}

// Domain is the trust domain, or ErrNone.
func (f *Folder) Domain(ctx context.Context) (string, error) {
	all, err := f.read(ctx)
	if err != nil {
		return "", err
	}
	if a := all.signing(f.now()); a != nil {
		return a.domain(), nil
	}
	return "", ErrNone
}
