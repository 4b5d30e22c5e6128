package access

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// The hashes were made by "htpasswd -nbB" of Debian's apache2-utils 2.4.71; the
// passwords are the names, spelled backwards.
const rulesText = `users:
  alice: $2y$05$/2PVhcviTiBQ5t.fbUCUfePou.RJcqXLeWW/QnVkIbP9pJorUQDC.
  bob: $2y$06$7z0CNpZhZNrtfuYHKz6XaeZBfpIEQY6J7APrXp78anuNTeMkWC7Vu
groups:
  team: [alice, bob]
rules:
  - {repository: public/**, pull: anyone, push: team, delete: alice}
  - {repository: "home/{user}/*", push: users}
  - {repository: secret/app, pull: alice}
`

// A stage is a guard before something that answers for pulls and pushes as a
// registry does.
type stage struct {
	testing.TB
	guard *Guard
	rules *Rules
	url   string
	now   time.Time
	log   bytes.Buffer
}

func newStage(t testing.TB, text string) *stage {
	t.Helper()
	s := &stage{TB: t, rules: mustParse(t, text), now: time.Now()}
	_, key, _ := ed25519.GenerateKey(nil)
	var err error
	s.guard, err = New(Config{
		Rules: func() *Rules { return s.rules }, Key: key,
		Now: func() time.Time { return s.now }, Log: slog.New(slog.NewTextHandler(&s.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.guard.Handler(http.HandlerFunc(s.serve)))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func mustParse(t testing.TB, text string) *Rules {
	t.Helper()
	r, err := parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (s *stage) serve(w http.ResponseWriter, q *http.Request) {
	caller := CallerOf(q.Context())
	repository, _, _ := strings.Cut(strings.TrimPrefix(q.URL.Path, "/v2/"), "/manifests/")
	action := map[string]Action{"GET": Pull, "PUT": Push, "DELETE": Delete}[q.Method]
	switch {
	case q.URL.Path == "/v2/" && caller.Known(), repository != "" && caller.May(action, repository):
		_, _ = io.WriteString(w, "you are "+caller.Name)
	default:
		w.Header().Set("WWW-Authenticate", s.guard.Challenge(q, action, repository))
		w.WriteHeader(http.StatusUnauthorized)
	}
}

func (s *stage) do(q *http.Request) (int, http.Header, string) {
	s.Helper()
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		s.Fatal(err)
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, answer.Header, string(body)
}

func (s *stage) request(method, path string) *http.Request {
	s.Helper()
	q, err := http.NewRequest(method, s.url+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	return q
}

func (s *stage) status(method, path, token string) int {
	s.Helper()
	q := s.request(method, path)
	if token != "" {
		q.Header.Set("Authorization", "Bearer "+token)
	}
	status, _, _ := s.do(q)
	return status
}

// token asks as clients of the older way do.
func (s *stage) token(user string, scopes ...string) string {
	s.Helper()
	q := s.request("GET", "/token?"+url.Values{"scope": scopes}.Encode())
	if user != "" {
		q.SetBasicAuth(user, backwards(user))
	}
	status, _, body := s.do(q)
	var a answer
	if err := json.Unmarshal([]byte(body), &a); err != nil || status != http.StatusOK {
		s.Fatalf("%d %s", status, body)
	}
	return a.Token
}

func backwards(s string) string {
	var b strings.Builder
	for i := len(s); i > 0; i-- {
		b.WriteByte(s[i-1])
	}
	return b.String()
}

func TestWhoMayWhat(t *testing.T) {
	r := mustParse(t, rulesText)
	for _, c := range []struct {
		user       string
		action     Action
		repository string
		want       bool
	}{
		{"", Pull, "public/app", true},
		{"", Pull, "public/deep/er/app", true},
		{"", Pull, "public", false},
		{"", Push, "public/app", false},
		{"bob", Push, "public/app", true},
		{"bob", Delete, "public/app", false},
		{"alice", Delete, "public/app", true},
		{"alice", Pull, "secret/app", true},
		{"bob", Pull, "secret/app", false},
		{"alice", Push, "secret/app", false},
		{"bob", Push, "home/bob/app", true},
		{"bob", Pull, "home/bob/app", true},
		{"bob", Pull, "home/alice/app", false},
		{"bob", Push, "home/bob/app/more", false},
		{"", Pull, "home//app", false},
		{"carol", Pull, "public/app", false},
		{"alice", Pull, "other", false},
		{"", Pull, "", false},
	} {
		if got := r.May(c.user, c.action, c.repository); got != c.want {
			t.Errorf("%s %s %s: got %v", c.user, c.action, c.repository, got)
		}
	}
	if (&Rules{}).May("", Pull, "a") {
		t.Error("no rules allow something")
	}
}

func TestTheFirstRuleThatFitsDecides(t *testing.T) {
	r := mustParse(t, "rules:\n- {repository: a/secret*, pull: []}\n- {repository: a/*, pull: anyone}\n")
	if r.May("", Pull, "a/secret-plans") || !r.May("", Pull, "a/b") {
		t.Error("the first rule did not decide")
	}
}

func TestAClientOfGoContainerregistryGetsWhatTheRulesGive(t *testing.T) {
	s := newStage(t, rulesText)
	for _, c := range []struct {
		user, scope, method, repository string
		want                            int
	}{
		{"", transport.PullScope, "GET", "public/app", 200},
		{"", transport.PushScope, "PUT", "public/app", 401},
		{"bob", transport.PushScope, "PUT", "public/app", 200},
		{"bob", transport.PullScope, "GET", "secret/app", 401},
		{"alice", transport.PullScope, "GET", "secret/app", 200},
		{"alice", transport.PushScope, "PUT", "secret/app", 401},
		{"alice", transport.DeleteScope, "DELETE", "public/app", 200},
	} {
		repo, err := name.NewRepository(strings.TrimPrefix(s.url, "http://")+"/"+c.repository, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		auth := authn.Anonymous
		if c.user != "" {
			auth = &authn.Basic{Username: c.user, Password: backwards(c.user)}
		}
		rt, err := transport.NewWithContext(t.Context(), repo.Registry, auth, http.DefaultTransport, []string{repo.Scope(c.scope)})
		if err != nil {
			t.Fatal(err)
		}
		answer, err := (&http.Client{Transport: rt}).Do(s.request(c.method, "/v2/"+c.repository+"/manifests/x"))
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != c.want {
			t.Errorf("%q %s %s: got %s, want %d", c.user, c.method, c.repository, answer.Status, c.want)
		}
	}
}

func TestAPasswordIsTakenWithEachRequestToo(t *testing.T) {
	s := newStage(t, rulesText)
	q := s.request("GET", "/v2/secret/app/manifests/x")
	q.SetBasicAuth("alice", "ecila")
	if status, _, body := s.do(q); status != 200 || body != "you are alice" {
		t.Errorf("got %d %s", status, body)
	}
	q.SetBasicAuth("alice", "wrong")
	if status, header, body := s.do(q); status != 401 || !strings.Contains(body, `"code":"UNAUTHORIZED"`) || header.Get("WWW-Authenticate") == "" {
		t.Errorf("got %d %v %s", status, header, body)
	}
	if log := s.log.String(); !strings.Contains(log, "user=alice") || strings.Contains(log, "wrong") {
		t.Errorf("logged %s", log)
	}
}

func TestAPasswordTypedAsANameIsNotLogged(t *testing.T) {
	s := newStage(t, rulesText)
	q := s.request("GET", "/v2/")
	q.SetBasicAuth("hunter2", "")
	if status, _, _ := s.do(q); status != 401 || strings.Contains(s.log.String(), "hunter2") {
		t.Errorf("got %d; logged %s", status, &s.log)
	}
}

func TestATokenIsOnlyForWhatItSays(t *testing.T) {
	s := newStage(t, rulesText)
	token := s.token("alice", "repository:public/app:pull", "repository:public/other:pull,push registry:catalog:*")
	for path, want := range map[string]int{
		"GET /v2/public/app/manifests/x": 200, "PUT /v2/public/app/manifests/x": 401,
		"PUT /v2/public/other/manifests/x": 200, "GET /v2/secret/app/manifests/x": 401, "GET /v2/": 200,
	} {
		method, path, _ := strings.Cut(path, " ")
		if got := s.status(method, path, token); got != want {
			t.Errorf("%s %s: got %d, want %d", method, path, got, want)
		}
	}
	if got := s.status("DELETE", "/v2/public/app/manifests/x", s.token("alice", "repository:public/app:*")); got != 200 {
		t.Errorf("every action: got %d", got)
	}
	_, header, _ := s.do(s.withToken(token, "/v2/secret/app/manifests/x"))
	want := `Bearer realm="` + s.url + `/token",service="holdfast",scope="repository:secret/app:pull",error="insufficient_scope"`
	if got := header.Get("WWW-Authenticate"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func (s *stage) withToken(token, path string) *http.Request {
	q := s.request("GET", path)
	q.Header.Set("Authorization", "Bearer "+token)
	return q
}

func TestTokensEnd(t *testing.T) {
	s := newStage(t, rulesText)
	path := "/v2/secret/app/manifests/x"
	fresh := func() string { return s.token("alice", "repository:secret/app:pull") }
	end := map[string]func(){
		"its time is over": func() { s.now = s.now.Add(accessLife) },
		"the rule is gone": func() {
			s.rules = mustParse(t, strings.Replace(rulesText, "secret/app, pull: alice", "secret/app, pull: bob", 1))
		},
		"the password is another": func() { s.rules = mustParse(t, strings.Replace(rulesText, "$2y$05$/", "$2y$05$y", 1)) },
		"the user is gone":        func() { s.rules = &Rules{hashes: map[string]string{}} },
	}
	for why, does := range end {
		s.rules = mustParse(t, rulesText)
		token := fresh()
		if got := s.status("GET", path, token); got != 200 {
			t.Fatalf("fresh: got %d", got)
		}
		does()
		if got := s.status("GET", path, token); got != 401 {
			t.Errorf("%s: got %d", why, got)
		}
	}
}

func TestForgedTokensAreRefused(t *testing.T) {
	s := newStage(t, rulesText)
	path := "/v2/secret/app/manifests/x"
	good := s.token("alice", "repository:secret/app:pull")
	parts := strings.Split(good, ".")
	other := newStage(t, rulesText).token("alice", "repository:secret/app:pull")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`))
	mac := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`))
	for why, token := range map[string]string{
		"another key": other, "no algorithm": none + "." + parts[1] + ".", "HMAC": mac + "." + parts[1] + "." + parts[2],
		"cut": good[:len(good)-4], "empty": "", "other claims": parts[0] + "." + strings.Split(other, ".")[1] + "." + parts[2],
		"no token": "x",
	} {
		q := s.request("GET", path)
		q.Header.Set("Authorization", "Bearer "+token)
		status, header, _ := s.do(q)
		if status != 401 || !strings.Contains(header.Get("WWW-Authenticate"), `error="invalid_token"`) {
			t.Errorf("%s: got %d %v", why, status, header)
		}
	}
}

// The signature is checked with nothing but crypto/ed25519, and the claims
// are those of the specification.
func TestTokensAreAsTheSpecificationHasThem(t *testing.T) {
	s := newStage(t, rulesText)
	parts := strings.Split(s.token("alice", "repository:secret/app:pull,push"), ".")
	signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
	if !ed25519.Verify(s.guard.mint.key.Public().(ed25519.PublicKey), []byte(parts[0]+"."+parts[1]), signature) {
		t.Error("the signature is wrong")
	}
	raw, _ := base64.RawURLEncoding.DecodeString(parts[1])
	var c map[string]any
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	for _, claim := range []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "access"} {
		if c[claim] == nil {
			t.Errorf("no %s in %s", claim, raw)
		}
	}
	if got := fmt.Sprint(c["access"]); got != "[map[actions:[pull] name:secret/app type:repository]]" {
		t.Errorf("access is %s", got)
	}
}

func TestOAuth2GivesTokensForPasswordsAndForRefreshTokens(t *testing.T) {
	s := newStage(t, rulesText)
	post := func(form url.Values) (int, answer) {
		answered, err := http.PostForm(s.url+"/token", form)
		if err != nil {
			t.Fatal(err)
		}
		defer answered.Body.Close()
		var a answer
		_ = json.NewDecoder(answered.Body).Decode(&a)
		return answered.StatusCode, a
	}
	scope := "repository:secret/app:pull repository:public/app:push,pull"
	status, a := post(url.Values{
		"grant_type": {"password"}, "username": {"alice"}, "password": {"ecila"}, "service": {"holdfast"},
		"client_id": {"docker"}, "access_type": {"offline"}, "scope": {scope},
	})
	if status != 200 || a.Refresh == "" || a.Seconds < 60 || a.Scope != "repository:secret/app:pull repository:public/app:pull,push" {
		t.Fatalf("got %d %+v", status, a)
	}
	if got := s.status("GET", "/v2/secret/app/manifests/x", a.Refresh); got != 401 {
		t.Errorf("a refresh token opens a repository: %d", got)
	}
	again := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {a.Refresh}, "scope": {scope}, "service": {"holdfast"}, "client_id": {"docker"}}
	status, b := post(again)
	if status != 200 || b.Refresh != a.Refresh || s.status("GET", "/v2/secret/app/manifests/x", b.Access) != 200 {
		t.Errorf("got %d %+v", status, b)
	}
	for why, form := range map[string]url.Values{
		"access token": {"grant_type": {"refresh_token"}, "refresh_token": {a.Access}},
		"password":     {"grant_type": {"password"}, "username": {"alice"}, "password": {"alice"}},
	} {
		if status, _ := post(form); status != 401 {
			t.Errorf("wrong %s: got %d", why, status)
		}
	}
	if status, _ := post(url.Values{"grant_type": {"authorization_code"}}); status != 400 {
		t.Errorf("unknown grant: got %d", status)
	}
	s.rules = mustParse(t, strings.Replace(rulesText, "$2y$05$/", "$2y$05$y", 1))
	if status, _ := post(again); status != 401 {
		t.Errorf("a refresh token outlives its password: %d", status)
	}
}
