package access

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// claims are those of distribution's tokens (docs/content/spec/auth/jwt.md),
// and two of ours: what a token is for, and which password it rests on.
type claims struct {
	Issuer   string  `json:"iss"`
	Subject  string  `json:"sub"` // empty when nobody logged in
	Audience string  `json:"aud"`
	Expires  int64   `json:"exp"`
	From     int64   `json:"nbf"`
	Issued   int64   `json:"iat"`
	ID       string  `json:"jti"`
	Access   []scope `json:"access"`
	Use      string  `json:"use"`           // access or refresh
	Password string  `json:"pwd,omitempty"` // fingerprint of the hash that it rests on
}

const (
	useAccess  = "access"
	useRefresh = "refresh"
)

// Clients want 60 seconds at least (docs/content/spec/auth/token.md). A
// refresh token is what "docker login" keeps.
const (
	accessLife  = 5 * time.Minute
	refreshLife = 90 * 24 * time.Hour
)

var errToken = errors.New("token is not one of ours, or has expired")

// A mint makes tokens and takes back only its own.
type mint struct {
	key     ed25519.PrivateKey
	signer  jose.Signer
	service string
	now     func() time.Time

	mu   sync.Mutex
	seen map[[sha256.Size]byte]*claims // guarded by mu: tokens whose signature was checked
}

// A token is remembered if it is no longer than those of a pull or a push; one
// for a hundred repositories is checked each time.
const (
	maxSeen = 4096
	maxKept = 4 << 10
)

func newMint(key ed25519.PrivateKey, service string, now func() time.Time) (*mint, error) {
	public := key.Public().(ed25519.PublicKey)
	id := fmt.Sprintf("%x", sha256.Sum256(public))[:16]
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: key},
		(&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", id))
	return &mint{key: key, signer: signer, service: service, now: now, seen: map[[sha256.Size]byte]*claims{}}, err
}

// issue signs c, whose issuer, audience and times it sets.
func (m *mint) issue(c claims, life time.Duration) (string, error) {
	now := m.now()
	c.Issuer, c.Audience, c.ID = m.service, m.service, rand.Text()
	c.Issued, c.From, c.Expires = now.Unix(), now.Unix(), now.Add(life).Unix()
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	signed, err := m.signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// verify gives the claims of a token that is ours, for use, and good now.
func (m *mint) verify(token, use string) (*claims, error) {
	name := sha256.Sum256([]byte(token))
	m.mu.Lock()
	c := m.seen[name]
	m.mu.Unlock()
	if c == nil {
		var err error
		if c, err = m.open(token); err != nil {
			return nil, errToken
		}
		if len(token) <= maxKept {
			m.keep(name, c)
		}
	}
	now := m.now().Unix()
	if c.Use != use || c.Issuer != m.service || c.Audience != m.service || now < c.From || now >= c.Expires {
		return nil, errToken
	}
	return c, nil
}

func (m *mint) open(token string) (*claims, error) {
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return nil, err
	}
	payload, err := signed.Verify(m.key.Public())
	if err != nil {
		return nil, err
	}
	c := &claims{}
	return c, json.Unmarshal(payload, c)
}

func (m *mint) keep(name [sha256.Size]byte, c *claims) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.seen) >= maxSeen {
		clear(m.seen)
	}
	m.seen[name] = c
}

// fingerprint changes when the password does.
func fingerprint(hash string) string {
	if hash == "" {
		return ""
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(hash)))[:32]
}
