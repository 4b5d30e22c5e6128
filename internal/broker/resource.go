package broker

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"strings"

	"holdfast/internal/api"
)

// maxResource bounds a resource's value.
const maxResource = 2 << 20

func pathOf(r *http.Request) (Resource, error) {
	path, err := parsePlain(r.PathValue("repository") + "/" + r.PathValue("type") + "/" + r.PathValue("tag"))
	if err != nil {
		return "", refuse(http.StatusNotFound, kindPath, "%w", err)
	}
	return path, nil
}

// getResource releases a secret: GET /kbs/v0/resource/REPOSITORY/TYPE/TAG.
func (b *Broker) getResource(w http.ResponseWriter, r *http.Request) error {
	path, err := pathOf(r)
	if err != nil {
		return err
	}
	v, err := b.attestedToken(r)
	if err != nil {
		return err
	}
	entry := api.AuditEntry{Action: "get-resource", Session: v.session, Peer: r.RemoteAddr,
		InitData: v.initData(), Warning: v.warning(), Resource: string(path)}
	want := wanted{resourcePlugin, string(path)}
	answer, err := b.give(r.Context(), v, want, r.URL.Query(), &entry, func(ctx context.Context) ([]byte, error) { return b.resource(ctx, path) })
	if err := b.conclude(r.Context(), entry, err); err != nil {
		b.dropProof(r.Context(), entry.Proof)
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// attestedToken finds the token that a request stands on: that of its session,
// or the one it bears, in Trustee's order (kbs/src/api_server.rs). Both are
// verified alike.
func (b *Broker) attestedToken(r *http.Request) (*verified, error) {
	var token string
	if cookie, err := r.Cookie(cookieName); err == nil {
		token = b.sessions.token(cookie.Value)
	}
	if token == "" {
		token = bearer(r)
	}
	if token == "" {
		return nil, refuse(http.StatusUnauthorized, kindNoToken, "Attestation Token not found: the session is not attested, and no bearer token was sent")
	}
	v, err := b.tokens.verify(token)
	if err == nil {
		err = b.proves(v)
	}
	if err != nil {
		return nil, refuse(http.StatusUnauthorized, kindToken, "Token Verifier error: %w", err)
	}
	return v, b.brakes.token.check(v.session, "attestation", b.cfg.Now())
}

func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// setResource is POST /kbs/v0/resource/REPOSITORY/TYPE/TAG; the body is the
// value. With "If-None-Match: *" (RFC 9110, 13.1.2) a value that is there stays:
// a key that was lost could open its images no more.
func (b *Broker) setResource(w http.ResponseWriter, r *http.Request, actor string) error {
	path, err := pathOf(r)
	if err != nil {
		return err
	}
	value, err := readBody(w, r, maxResource)
	if err != nil {
		return err
	}
	if len(value) == 0 {
		return refuse(http.StatusBadRequest, kindSerde, "resource %s: the body is empty", path) // which clients cannot open
	}
	if err := b.unkept(r.Context(), path); err != nil {
		return err
	}
	entry := api.AuditEntry{Action: "set-resource", Actor: actor, Peer: r.RemoteAddr, Resource: string(path),
		Value: b.audit.digest(path, value)}
	return b.change(w, r, entry, func(ctx context.Context) error {
		err := b.state.SetResource(ctx, string(path), value, r.Header.Get("If-None-Match") == "*")
		if errors.Is(err, fs.ErrExist) {
			return refuse(http.StatusPreconditionFailed, kindInternal, "resource is there already: %s", path)
		}
		return err
	})
}

func (b *Broker) deleteResource(w http.ResponseWriter, r *http.Request, actor string) error {
	path, err := pathOf(r)
	if err != nil {
		return err
	}
	entry := api.AuditEntry{Action: "delete-resource", Actor: actor, Peer: r.RemoteAddr, Resource: string(path)}
	return b.change(w, r, entry, func(ctx context.Context) error {
		return absent(b.state.DeleteResource(ctx, string(path)), "resource not found: %s", path)
	})
}

func (b *Broker) listResources(w http.ResponseWriter, r *http.Request, _ string) error {
	paths, err := b.state.Resources(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, paths)
	return nil
}

// absent turns what is not there into an answer.
func absent(err error, format string, args ...any) error {
	if errors.Is(err, fs.ErrNotExist) {
		return refuse(http.StatusNotFound, kindInternal, format, args...)
	}
	return err
}
