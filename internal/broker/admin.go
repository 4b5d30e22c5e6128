package broker

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"holdfast/internal/api"
	"holdfast/internal/broker/roles"
)

// adminLeeway is how far clocks may differ, as in Trustee's verifier, and
// adminLife how long the life of a token may be.
const (
	adminLeeway = time.Minute
	adminLife   = 5 * time.Minute
)

type adminHandler func(w http.ResponseWriter, r *http.Request, actor string) error

func (b *Broker) handleAdmin(pattern string, h adminHandler) {
	b.handle(pattern, func(w http.ResponseWriter, r *http.Request) error {
		return b.asAdministrator(w, r, func(actor string) error { return h(w, r, actor) })
	})
}

func (b *Broker) asAdministrator(w http.ResponseWriter, r *http.Request, do func(actor string) error) error {
	actor, err := b.administrator(w, r)
	var p *problem
	if errors.As(err, &p) || errors.Is(err, syscall.ENOSPC) {
		return err
	}
	if err != nil {
		b.log.Warn("broker: admin access denied", "path", r.URL.Path, "peer", r.RemoteAddr, "error", err)
		return refuse(http.StatusUnauthorized, kindAdmin, "admin access denied for endpoint %s: %w",
			strings.TrimPrefix(r.URL.Path, api.KBSPrefix+"/"), err)
	}
	return told(do(actor))
}

// told lets an administrator know what is wrong with the broker's own state;
// others get no such details.
func told(err error) error {
	var p *problem
	if err == nil || errors.As(err, &p) || errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return refuse(http.StatusInternalServerError, kindInternal, "the broker could not do it: %w", err)
}

// administrator returns who signed the request's bearer token: a JWT as in
// Trustee's bearer_jwt, by an algorithm that fits one of our keys, with a role
// that may do this; and, beyond Trustee's, for this broker, for this very
// request, and not seen before.
func (b *Broker) administrator(w http.ResponseWriter, r *http.Request) (actor string, err error) {
	rules := b.rulesOfAdministrators()
	if len(rules.Administrators) == 0 {
		return "", errors.New("this broker has no administrator's key")
	}
	text := bearer(r)
	if text == "" {
		return "", errors.New("no bearer token was sent")
	}
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256})
	if err != nil {
		return "", err
	}
	for _, a := range rules.Administrators {
		var claims adminClaims
		if !fits(a.Key, token.Headers) || token.Claims(a.Key, &claims) != nil {
			continue
		}
		if err := claims.timely(b.cfg.Now()); err != nil {
			return "", err
		}
		if err := claims.allowed(rules, a, r); err != nil {
			return "", err
		}
		return claims.actor(a), b.bound(w, r, &claims)
	}
	return "", errors.New("the token is not signed by an administrator's key")
}

// owner is the administrator that AdminKeys are of, whose tokens say who acts.
const owner = ""

func (b *Broker) rulesOfAdministrators() *roles.Rules {
	all := &roles.Rules{}
	if b.cfg.Administrators != nil {
		if rules := b.cfg.Administrators(); rules != nil {
			*all = *rules
		}
	}
	for _, key := range b.cfg.AdminKeys {
		all.Administrators = append(slices.Clip(all.Administrators), roles.Administrator{Name: owner, Roles: []string{roles.Admin}, Key: key})
	}
	return all
}

// fits keeps a key to its own algorithm.
func fits(key crypto.PublicKey, headers []jose.Header) bool {
	if len(headers) != 1 {
		return false
	}
	switch key.(type) {
	case ed25519.PublicKey:
		return headers[0].Algorithm == string(jose.EdDSA)
	case *ecdsa.PublicKey:
		return headers[0].Algorithm == string(jose.ES256)
	}
	return false
}

// adminClaims bind a token to a request as RFC 9449 does, section 4.2, and to
// its body.
type adminClaims struct {
	jwt.Claims
	Role   string `json:"role"`
	Method string `json:"htm"`
	Target string `json:"htu"` // path and query
	Body   string `json:"bdh"` // SHA-256, base64url
}

func (c *adminClaims) timely(now time.Time) error {
	if c.Expiry == nil {
		return errors.New("the token never expires")
	}
	return c.ValidateWithLeeway(jwt.Expected{Time: now}, adminLeeway)
}

// allowed checks that the token's role is one of its signer's, and may do this.
func (c *adminClaims) allowed(rules *roles.Rules, a roles.Administrator, r *http.Request) error {
	if !slices.Contains(a.Roles, c.Role) {
		return fmt.Errorf("the token's role is not %s: it is %.40q", strings.Join(a.Roles, " or "), c.Role)
	}
	if !rules.May(c.Role, r.Method, r.URL.Path) {
		return fmt.Errorf("role %s may not %s this path", c.Role, r.Method)
	}
	return nil
}

func (c *adminClaims) actor(a roles.Administrator) string {
	switch {
	case a.Name != owner:
		return a.Name
	case c.Subject != "":
		return c.Subject
	}
	return c.Role
}

// bound checks that the token is for this broker and this request, once.
func (b *Broker) bound(w http.ResponseWriter, r *http.Request, c *adminClaims) error {
	if b.cfg.PlainAdminTokens && c.Method == "" && c.Target == "" && c.Body == "" {
		return nil
	}
	if !slices.Contains(c.Audience, b.cfg.Audience) || b.cfg.Audience == "" {
		return fmt.Errorf("the token is for %.80q, not for this broker, %q", []string(c.Audience), b.cfg.Audience)
	}
	if c.Method != r.Method || c.Target != r.URL.RequestURI() {
		return fmt.Errorf("the token is for another request: %.10q %.200q", c.Method, c.Target)
	}
	if c.IssuedAt == nil || c.Expiry.Time().Sub(c.IssuedAt.Time()) > adminLife {
		return fmt.Errorf("the token lives longer than %s", adminLife)
	}
	body, err := readBody(w, r, adminBound(r))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	if c.Body != base64url(sum[:]) {
		return errors.New("the token is for another body")
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return b.once(r, c.ID, c.Expiry.Time().Add(adminLeeway))
}

var errUsed = errors.New("the token was used before")

// once takes a token's ID, which nobody can do twice: not here, whatever the
// clock does, and not at a broker that shares the state or is started later.
//
// Only while the disk is full, a request that reads is content with this
// process's memory: who administers a full disk has to see. What another
// process was shown, or this one before it was started again, it may be shown
// once more then, by the same administrator's token, which lives for minutes.
// Changes want their ID written.
func (b *Broker) once(r *http.Request, id string, until time.Time) error {
	if len(id) < 16 {
		return errors.New("the token has no ID of 16 characters or more (jti)")
	}
	sum := sha256.Sum256([]byte(id))
	fresh, _, err := b.adminIDs.use(sessionID(sum[:16]), b.cfg.Now())
	if err == nil && !fresh {
		err = errUsed
	}
	if err != nil {
		return err
	}
	err = b.state.Once(r.Context(), hex.EncodeToString(sum[:]), until)
	switch {
	case errors.Is(err, fs.ErrExist):
		return errUsed
	case errors.Is(err, syscall.ENOSPC) && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		b.log.Warn("broker: no space left: an administrator's token was good for reading without being written down", "path", r.URL.Path)
		return nil
	case err != nil:
		return told(err)
	}
	return nil
}

// change makes an administrator's change, records it and answers. The record
// comes first: a change that nobody can see must not happen, while a record of
// one that then failed has its failure in the next line.
func (b *Broker) change(w http.ResponseWriter, r *http.Request, entry api.AuditEntry, do func(context.Context) error) error {
	entry.Decision = api.AuditAllow
	if err := b.record(r.Context(), entry); err != nil {
		return err
	}
	if err := do(r.Context()); err != nil {
		entry.Decision, entry.Reasons = api.AuditRefuse, []string{reason(err)}
		if unrecorded := b.record(context.WithoutCancel(r.Context()), entry); unrecorded != nil {
			return unrecorded
		}
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}
