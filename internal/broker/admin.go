package broker

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"errors"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"holdfast/internal/api"
)

// AdminRole is the role that an administrator's token must claim: Trustee maps
// roles to paths, and here there is one.
const AdminRole = "admin"

// adminLeeway is how far clocks may differ, as in Trustee's verifier.
const adminLeeway = time.Minute

type adminHandler func(w http.ResponseWriter, r *http.Request, actor string) error

func (b *Broker) handleAdmin(pattern string, h adminHandler) {
	b.handle(pattern, func(w http.ResponseWriter, r *http.Request) error {
		return b.asAdministrator(r, func(actor string) error { return h(w, r, actor) })
	})
}

func (b *Broker) asAdministrator(r *http.Request, do func(actor string) error) error {
	actor, err := b.administrator(r)
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

// administrator returns who signed the request's bearer token, a JWT as in
// Trustee's bearer_jwt: an algorithm that fits one of our keys, not expired,
// with the role.
func (b *Broker) administrator(r *http.Request) (actor string, err error) {
	if len(b.cfg.AdminKeys) == 0 {
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
	for _, key := range b.cfg.AdminKeys {
		if !fits(key, token.Headers) {
			continue
		}
		var claims adminClaims
		if err := token.Claims(key, &claims); err == nil {
			return claims.actor(b.cfg.Now())
		}
	}
	return "", errors.New("the token is not signed by an administrator's key")
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

type adminClaims struct {
	jwt.Claims
	Role string `json:"role"`
}

func (c *adminClaims) actor(now time.Time) (string, error) {
	if c.Expiry == nil {
		return "", errors.New("the token never expires")
	}
	if err := c.ValidateWithLeeway(jwt.Expected{Time: now}, adminLeeway); err != nil {
		return "", err
	}
	if c.Role != AdminRole {
		return "", errors.New("the token's role is not " + AdminRole)
	}
	if c.Subject == "" {
		return c.Role, nil
	}
	return c.Subject, nil
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
