// Package access says who may do what at a registry: users with passwords,
// rules for repositories, and the tokens that clients carry.
//
// A token never gives more than the rules give at the moment it is used, so
// whoever takes a right or a password out of the file has taken it out of all
// tokens too. Answers are made from rules alone, before anybody looks whether
// a repository exists: who may not see one cannot tell it from one that is
// not there, neither by words nor by time.
package access

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// Config says by whom to be asked and with which key to sign.
type Config struct {
	Rules func() *Rules      // the rules of the moment; while there are none, everybody may do everything
	Key   ed25519.PrivateKey // signs tokens
	// URL is how clients reach the server, as https://registry.example.org; as
	// they say themselves when empty, which is right unless a proxy stands
	// before it.
	URL string
	Now func() time.Time // default: time.Now
	Log *slog.Logger     // default: none
}

// service is the audience of tokens: this program's registry.
const service = "holdfast"

// A Guard knows callers and decides for them.
type Guard struct {
	c         Config
	passwords *passwords
	mint      *mint
}

// New refuses a Config without rules or key.
func New(c Config) (*Guard, error) {
	if c.Rules == nil || len(c.Key) != ed25519.PrivateKeySize {
		return nil, errors.New("access: rules and an Ed25519 key are needed")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	m, err := newMint(c.Key, service, c.Now)
	return &Guard{c: c, passwords: newPasswords(c.Now, c.Log), mint: m}, err
}

// A Caller is who sends a request, as far as the request proves it.
type Caller struct {
	Name   string // of a user; empty for nobody in particular
	known  bool   // by a password or a token, were it nobody's
	open   bool   // there are no rules
	token  bool
	scopes []scope // of the token
	rules  *Rules
}

// LoggedIn says whether the caller is a user.
func (c Caller) LoggedIn() bool { return c.Name != "" }

// Known says whether the caller showed a password or a token, or need not.
func (c Caller) Known() bool { return c.known || c.open }

// May says whether the caller may do a with a repository, now and with what
// was shown.
func (c Caller) May(a Action, repository string) bool {
	return c.Could(a, repository) && c.carries(typeRepository, repository, string(a))
}

// Could says whether the caller might, with a token for it.
func (c Caller) Could(a Action, repository string) bool {
	return c.open || c.rules != nil && c.rules.May(c.Name, a, repository)
}

// MayList says whether the caller may ask which repositories there are: of
// which the answer names those that Could be pulled.
func (c Caller) MayList() bool { return c.open || c.known && c.carries(typeRegistry, catalog, all) }

func (c Caller) carries(kind, name, action string) bool {
	if !c.token {
		return true
	}
	for _, s := range c.scopes {
		if s.Type == kind && s.Name == name && s.has(action) {
			return true
		}
	}
	return false
}

// Open says that there are no rules.
func (g *Guard) Open() bool { return g.c.Rules() == nil }

type callerKey struct{}

// CallerOf is who sent a request that came through a Guard's Handler.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// caller reads what a request proves. A request that claims something that is
// not true is not anonymous: it gets an error.
func (g *Guard) caller(q *http.Request) (Caller, error) {
	rules := g.c.Rules()
	header := q.Header.Get("Authorization")
	if rules == nil {
		return Caller{open: true}, nil
	}
	if header == "" {
		return Caller{rules: rules}, nil
	}
	if scheme, token, _ := strings.Cut(header, " "); strings.EqualFold(scheme, "Bearer") {
		return g.bearer(rules, strings.TrimSpace(token))
	}
	user, password, ok := q.BasicAuth()
	if !ok {
		return Caller{}, errToken
	}
	if err := g.passwords.check(q.Context(), rules, rules.source(q), user, password); err != nil {
		return Caller{}, err
	}
	return Caller{Name: user, known: true, rules: rules}, nil
}

func (g *Guard) bearer(rules *Rules, token string) (Caller, error) {
	c, err := g.mint.verify(token, useAccess)
	if err != nil {
		return Caller{}, err
	}
	if c.Password != fingerprint(rules.hashes[c.Subject]) {
		return Caller{}, errToken
	}
	return Caller{Name: c.Subject, known: true, token: true, scopes: c.Access, rules: rules}, nil
}
