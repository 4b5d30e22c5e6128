package broker

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"holdfast/internal/api"
	"holdfast/internal/attest/ear"
	"holdfast/internal/plainjson"
)

// A TokenKey signs attestation results.
type TokenKey struct {
	Signer crypto.Signer       // ECDSA P-256
	Chain  []*x509.Certificate // of the key, and of those above it; optional, goes into tokens as x5c
}

// A RetiredKey signs no more. What it signed holds on until it has expired.
type RetiredKey struct {
	Public *ecdsa.PublicKey
	Until  time.Time // no token of the key is good after it
}

// TokenKeys are a broker's, as of now.
type TokenKeys struct {
	Current TokenKey
	Retired []RetiredKey
}

// A tokenMaker makes attestation results (EAR, draft-ietf-rats-ear) as signed
// tokens, and takes back its own and those of issuers that it is told to trust.
type tokenMaker struct {
	keys    func() TokenKeys
	issuer  string
	life    time.Duration
	now     func() time.Time
	issuers func() []Issuer

	clock   ratchet
	seen    seenTokens
	mu      sync.Mutex
	current *signingKey // guarded by mu
}

// A signingKey is a TokenKey and what is the same for all of its tokens.
type signingKey struct {
	TokenKey
	public *ecdsa.PublicKey
	kid    string
	header string // of a token, encoded
}

// certificate is nil when the key has none.
func (k *signingKey) certificate() *x509.Certificate {
	if len(k.Chain) == 0 {
		return nil
	}
	return k.Chain[0]
}

// fixed is the one key of a broker that rotates none.
func fixed(k TokenKey) func() TokenKeys { return func() TokenKeys { return TokenKeys{Current: k} } }

// key is the one that signs now.
func (m *tokenMaker) key() (*signingKey, error) {
	k := m.keys().Current
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.current != nil && m.current.Signer == k.Signer {
		return m.current, nil
	}
	s, err := newSigningKey(k)
	if err == nil {
		m.current = s
	}
	return s, err
}

func newSigningKey(k TokenKey) (*signingKey, error) {
	if k.Signer == nil {
		return nil, errors.New("there is no token key")
	}
	public, ok := k.Signer.Public().(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, errors.New("the token key must be ECDSA P-256")
	}
	s := &signingKey{TokenKey: k, public: public}
	jwk := jose.JSONWebKey{Key: public, Algorithm: string(jose.ES256), Certificates: k.Chain}
	var err error
	if s.kid, err = KeyID(public); err != nil {
		return nil, err
	}
	// The key stands in the header with its chain, as in Trustee's tokens
	// (EarAttestationTokenBroker::pubkey_jwk): its verifier takes no other.
	header, err := json.Marshal(struct {
		Alg string          `json:"alg"`
		JWK jose.JSONWebKey `json:"jwk"`
		Kid string          `json:"kid"`
		Typ string          `json:"typ"`
	}{string(jose.ES256), jwk, s.kid, "JWT"})
	s.header = base64url(header)
	return s, err
}

// RecordRotation tells the audit log that actor replaced a key.
func (b *Broker) RecordRotation(ctx context.Context, actor, key string) error {
	return b.record(ctx, api.AuditEntry{Action: "rotate-key", Decision: api.AuditAllow, Actor: actor, Subject: key})
}

// RecordOpenedPage tells the audit log that actor opened pages about the broker
// at an address.
func (b *Broker) RecordOpenedPage(ctx context.Context, actor, address string) error {
	return b.record(ctx, api.AuditEntry{Action: "open-page", Decision: api.AuditAllow, Actor: actor, Subject: "pages at " + address})
}

// KeyID names a key in tokens: its thumbprint, RFC 7638.
func KeyID(public crypto.PublicKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	return base64url(sum), err
}

// issueBy signs a result, whose issuer and times it sets. The token's text and
// payload are on the desk.
func (m *tokenMaker) issueBy(d *desk, key *signingKey, r ear.Result) (issuedToken, error) {
	now := m.now()
	m.clock.issued(r.Session, now)
	r.Issuer, r.From, r.Until = m.issuer, now.Unix(), now.Add(m.life).Unix()
	var err error
	if d.payload, err = plainjson.Append(d.payload, ear.Claims(r)); err != nil {
		return issuedToken{}, err
	}
	token, err := key.sign(d.token, d.payload)
	d.token = token.text[:0]
	return token, err
}

// An issuedToken is a JWS in compact form, and its parts.
type issuedToken struct {
	text  []byte
	parts jws
	kept  keptToken
}

// sign makes a JWS. RFC 7518, section 3.4: the signature is R and S, of 32 bytes
// each.
func (k *signingKey) sign(text, payload []byte) (t issuedToken, err error) {
	text = slices.Grow(text, len(k.header)+base64.RawURLEncoding.EncodedLen(len(payload))+88)
	text = base64.RawURLEncoding.AppendEncode(append(append(text, k.header...), '.'), payload)
	sum := sha256.Sum256(text)
	der, err := k.Signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return t, err
	}
	var points struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &points); err != nil {
		return t, fmt.Errorf("the token key's signature: %w", err)
	}
	var signature [64]byte
	points.R.FillBytes(signature[:32])
	points.S.FillBytes(signature[32:])
	t.text = base64.RawURLEncoding.AppendEncode(append(text, '.'), signature[:])
	t.parts = jws{k.header, payload, signature}
	t.kept = keptToken{k.header, pack(payload), signature}
	return t, nil
}

// own are the keys whose tokens are good now, by ID.
func (m *tokenMaker) own() (map[string]crypto.PublicKey, error) {
	current, err := m.key()
	if err != nil {
		return nil, err
	}
	all := map[string]crypto.PublicKey{current.kid: current.public}
	for _, k := range m.keys().Retired {
		id, err := KeyID(k.Public)
		if err == nil && m.now().Before(k.Until) {
			all[id] = k.Public
		}
	}
	return all, nil
}

// A verified token is still good, and of an issuer that counts.
type verified struct {
	claims  map[string]any
	session string
	issuer  string // "" when it is of this broker
	token   string // as it was shown
	key     *teeKey
}

// unnamed is the issuer of tokens of brokers that have no name of their own, as
// none had once: such a token is told by its key.
const unnamed = "holdfast"

func (m *tokenMaker) signedByUs(t *unverified) bool {
	keys, err := m.own()
	return err == nil && t.signedBy(keys, "this broker", jose.ES256) == nil
}

// verify judges a token by its issuer's keys.
func (m *tokenMaker) verify(token string) (*verified, error) {
	id := sha256.Sum256([]byte(token))
	if v, err := m.again(id); v != nil || err != nil {
		return v, err
	}
	t, err := readToken(token)
	if err != nil {
		return nil, err
	}
	v := &verified{session: t.claims.Session, token: token}
	if t.claims.Issuer == m.issuer || t.claims.Issuer == unnamed && m.signedByUs(t) {
		keys, err := m.own()
		if err != nil {
			return nil, err
		}
		err = t.signedBy(keys, "this broker", jose.ES256)
		if err != nil {
			return nil, err
		}
	} else {
		if err := m.foreign(t); err != nil {
			return nil, err
		}
		v.issuer, v.session = t.claims.Issuer, sessionReference(t.payload)
	}
	now := m.now()
	if err := t.timely(now, v.issuer != ""); err != nil {
		return nil, err
	}
	if v.issuer == "" {
		if err := m.clock.check(v.session, now); err != nil {
			return nil, err
		}
	}
	if v.key, err = parseTEEKey(t.claims.Submods[ear.Primary].Evidence.Runtime.Key); err != nil {
		return nil, err
	}
	if err := exactly(t.payload, &v.claims); err != nil {
		return nil, err
	}
	if v.issuer == "" {
		m.remember(id, t, v)
	}
	return v, nil
}

// signatureAlgorithms are those of asymmetric keys: with any other, a public
// key would pass for a secret.
var signatureAlgorithms = []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.EdDSA, jose.RS256, jose.PS256, jose.RS384, jose.PS384}

// unverified is what a token says, before anybody believes it.
type unverified struct {
	signed  *jose.JSONWebSignature
	header  jose.Header
	payload []byte
	claims  tokenClaims
}

type tokenClaims struct {
	Issuer  string `json:"iss"`
	Expires int64  `json:"exp"`
	From    int64  `json:"nbf"`
	Made    int64  `json:"iat"`
	Session string `json:"jti"`
	Submods map[string]struct {
		Evidence struct {
			Runtime struct {
				Key json.RawMessage `json:"tee-pubkey"`
			} `json:"runtime_data_claims"`
		} `json:"ear.veraison.annotated-evidence"`
	} `json:"submods"`
}

func readToken(token string) (*unverified, error) {
	signed, err := jose.ParseSignedCompact(token, signatureAlgorithms)
	if err != nil {
		return nil, fmt.Errorf("it is no token signed by a public key: %w", err)
	}
	t := &unverified{signed: signed, header: signed.Signatures[0].Header, payload: signed.UnsafePayloadWithoutVerification()}
	if typ, has := t.header.ExtraHeaders[jose.HeaderType]; has && typ != "JWT" && typ != "jwt" {
		return nil, fmt.Errorf("its type is %.40q, not JWT", fmt.Sprint(typ))
	}
	// Exactly as policy will read it: "ISS" is not "iss", and neither is twice.
	if err := exactly(t.payload, &t.claims); err != nil {
		return nil, fmt.Errorf("its claims: %w", err)
	}
	return t, nil
}

// signedBy checks the signature by the key that the header names among keys,
// or by any of them when it names none. The header's own key is the sender's
// word, and no key is ever fetched or read because a header names it.
func (t *unverified) signedBy(keys map[string]crypto.PublicKey, who string, algs ...jose.SignatureAlgorithm) error {
	if kid := t.header.KeyID; kid != "" {
		key, ok := keys[kid]
		if !ok {
			return fmt.Errorf("it was not signed by %s, which has no key %.80q", who, kid)
		}
		keys = map[string]crypto.PublicKey{kid: key}
	}
	for _, key := range keys {
		if !suits(key, jose.SignatureAlgorithm(t.header.Algorithm), algs) {
			continue
		}
		if _, err := t.signed.Verify(key); err == nil {
			return nil
		}
	}
	if t.header.JSONWebKey != nil {
		return fmt.Errorf("it was not signed by %s: for the key in its header nobody vouches but the token itself", who)
	}
	return fmt.Errorf("it was not signed by %s", who)
}

// tokenLeeway is how far the clocks of two brokers may differ.
const tokenLeeway = time.Minute

func (t *unverified) timely(now time.Time, foreign bool) error {
	var leeway time.Duration
	if foreign {
		leeway = tokenLeeway
	}
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }
	switch c := t.claims; {
	case c.Expires == 0:
		return errors.New("it never expires")
	case !now.Before(at(c.Expires)):
		return fmt.Errorf("it expired at %s", at(c.Expires).Format(time.RFC3339))
	case now.Add(leeway).Before(at(c.From)):
		return fmt.Errorf("it is not good before %s", at(c.From).Format(time.RFC3339))
	case now.Add(leeway + time.Minute).Before(at(c.Made)):
		return fmt.Errorf("it was made at %s, which is yet to come", at(c.Made).Format(time.RFC3339))
	}
	return nil
}

// getKeySet tells who reads this broker's tokens what they are signed by.
func (b *Broker) getKeySet(w http.ResponseWriter, _ *http.Request) error {
	set, err := b.tokens.keySet()
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, set)
	return nil
}

// keySet is the JWK set (RFC 7517) of the keys whose tokens are good now.
func (m *tokenMaker) keySet() (*jose.JSONWebKeySet, error) {
	own, err := m.own()
	if err != nil {
		return nil, err
	}
	current, err := m.key()
	if err != nil {
		return nil, err
	}
	set := &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: current.public, KeyID: current.kid, Algorithm: string(jose.ES256), Use: "sig", Certificates: current.Chain}}}
	delete(own, current.kid)
	for kid, key := range own {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key, KeyID: kid, Algorithm: string(jose.ES256), Use: "sig"})
	}
	return set, nil
}
