package access

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
)

// answer is what a client gets for its login: docs/content/spec/auth/token.md
// and oauth.md of distribution.
type answer struct {
	Token    string `json:"token"`
	Access   string `json:"access_token"` // the same: OAuth2's name for it
	Refresh  string `json:"refresh_token,omitempty"`
	Scope    string `json:"scope"`
	Seconds  int    `json:"expires_in"`
	IssuedAt string `json:"issued_at"`
}

// A wish is what a client asks for.
type wish struct {
	user    string
	scopes  []scope
	offline bool   // a refresh token too
	refresh string // the one that it has
}

const maxForm = 64 << 10

var errGrant = errors.New("want grant_type password or refresh_token")

func (g *Guard) serveToken(w http.ResponseWriter, q *http.Request) {
	rules := g.c.Rules()
	var got wish
	var err error
	switch q.Method {
	case http.MethodGet:
		got, err = g.readQuery(rules, q)
	case http.MethodPost:
		q.Body = http.MaxBytesReader(w, q.Body, maxForm)
		got, err = g.readForm(rules, q)
	default:
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "want GET or POST", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	if errors.Is(err, errGrant) {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err == nil {
		err = g.give(w, rules, got)
	}
	if err != nil {
		w.Header().Set("WWW-Authenticate", `Basic realm="`+service+`"`)
		refuse(w, err)
	}
}

// readQuery is the older way, by Basic; without it, nobody asks.
func (g *Guard) readQuery(rules *Rules, q *http.Request) (wish, error) {
	query := q.URL.Query()
	asked := wish{scopes: parseScopes(query["scope"])}
	if q.Header.Get("Authorization") == "" {
		return asked, nil
	}
	user, password, ok := q.BasicAuth()
	if !ok {
		return wish{}, errPassword
	}
	asked.user, asked.offline = user, query.Get("offline_token") == "true"
	return asked, g.passwords.check(q.Context(), rules, rules.source(q), user, password)
}

// readForm is OAuth2's (RFC 6749, sections 4.3 and 6).
func (g *Guard) readForm(rules *Rules, q *http.Request) (wish, error) {
	if err := q.ParseForm(); err != nil {
		return wish{}, errGrant
	}
	form := q.PostForm
	asked := wish{scopes: parseScopes(form["scope"])}
	switch form.Get("grant_type") {
	case "password":
		asked.user, asked.offline = form.Get("username"), form.Get("access_type") == "offline"
		return asked, g.passwords.check(q.Context(), rules, rules.source(q), asked.user, form.Get("password"))
	case "refresh_token":
		asked.refresh = form.Get("refresh_token")
		c, err := g.mint.verify(asked.refresh, useRefresh)
		if err != nil || c.Password != fingerprint(rules.hashes[c.Subject]) {
			return wish{}, errToken
		}
		asked.user = c.Subject
		return asked, nil
	}
	return wish{}, errGrant
}

// give hands out a token for what the rules grant of the wish.
func (g *Guard) give(w http.ResponseWriter, rules *Rules, asked wish) error {
	granted := rules.grant(asked.user, asked.scopes)
	password := fingerprint(rules.hashes[asked.user])
	token, err := g.mint.issue(claims{Subject: asked.user, Access: granted, Use: useAccess, Password: password}, accessLife)
	if err != nil {
		return err
	}
	a := answer{
		Token: token, Access: token, Refresh: asked.refresh, Scope: listOf(granted),
		Seconds: int(accessLife.Seconds()), IssuedAt: g.c.Now().UTC().Format(time.RFC3339),
	}
	if asked.offline && asked.user != "" {
		a.Refresh, err = g.mint.issue(claims{Subject: asked.user, Use: useRefresh, Password: password}, refreshLife)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(a)
}

func listOf(scopes []scope) string {
	var list []string
	for _, s := range scopes {
		list = append(list, s.String())
	}
	return strings.Join(slices.Compact(list), " ")
}
