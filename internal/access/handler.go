package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// TokenPath is where tokens are given.
const TokenPath = "/token"

// Handler lets next see requests whose caller is known, which may be nobody,
// and answers for tokens itself.
func (g *Guard) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == TokenPath && !g.Open() {
			g.serveToken(w, q)
			return
		}
		caller, err := g.caller(q)
		if err != nil {
			w.Header().Set("WWW-Authenticate", g.challenge(q, "", errors.Is(err, errToken)))
			refuse(w, err)
			return
		}
		next.ServeHTTP(w, q.WithContext(context.WithValue(q.Context(), callerKey{}, caller)))
	})
}

// refuse answers who showed something that is not true.
func refuse(w http.ResponseWriter, err error) {
	status, code := http.StatusUnauthorized, "UNAUTHORIZED"
	var busy *BusyError
	if errors.As(err, &busy) {
		status, code = http.StatusTooManyRequests, "TOOMANYREQUESTS"
		w.Header().Set("Retry-After", strconv.Itoa(busy.Seconds()))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	type one struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []one{{code, err.Error()}}})
}

// Challenge is the WWW-Authenticate header that asks q's client to show that
// it may do a with a repository; for the list of repositories and for nothing
// in particular, repository is empty.
func (g *Guard) Challenge(q *http.Request, a Action, repository string) string {
	needs := scope{Type: typeRepository, Name: repository, Actions: []string{string(a)}}
	if a == Push {
		needs.Actions = []string{string(Pull), string(Push)}
	}
	caller := CallerOf(q.Context())
	text := ""
	if repository != "" {
		text = needs.String()
	}
	return g.challenge(q, text, false) + insufficient(caller)
}

// ChallengeList is the one of who asks which repositories there are.
func (g *Guard) ChallengeList(q *http.Request) string {
	list := scope{Type: typeRegistry, Name: catalog, Actions: []string{all}}
	return g.challenge(q, list.String(), false) + insufficient(CallerOf(q.Context()))
}

// insufficient tells a client to get another token (RFC 6750, section 3.1).
func insufficient(c Caller) string {
	if c.token {
		return `,error="insufficient_scope"`
	}
	return ""
}

func (g *Guard) challenge(q *http.Request, scope string, invalid bool) string {
	if g.c.Rules().basic {
		return fmt.Sprintf("Basic realm=%q", service)
	}
	text := fmt.Sprintf("Bearer realm=%q,service=%q", g.url(q)+TokenPath, service)
	if scope != "" {
		text += fmt.Sprintf(",scope=%q", scope)
	}
	if invalid {
		text += `,error="invalid_token"`
	}
	return text
}

func (g *Guard) url(q *http.Request) string {
	switch {
	case g.c.URL != "":
		return g.c.URL
	case g.c.Rules().isSecure(q):
		return "https://" + q.Host
	}
	return "http://" + q.Host
}
