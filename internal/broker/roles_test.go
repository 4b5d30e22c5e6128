package broker

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"holdfast/internal/broker/admin"
	"holdfast/internal/broker/roles"
)

// A thief sends a request as it was, or with what edit makes of it.
type thief struct {
	taken []*http.Request
	body  [][]byte
}

func (t *thief) RoundTrip(r *http.Request) (*http.Response, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	t.taken, t.body = append(t.taken, r.Clone(r.Context())), append(t.body, raw)
	r.Body = io.NopCloser(bytes.NewReader(raw))
	return http.DefaultTransport.RoundTrip(r)
}

func (t *thief) send(b *bench, method, path string, body []byte) (int, []byte) {
	m := b.machine()
	m.token = strings.TrimPrefix(t.taken[0].Header.Get("Authorization"), "Bearer ")
	return m.call(method, path, body)
}

func TestACapturedAdminTokenIsOfNoUse(t *testing.T) {
	strict := func(c *Config) { c.PlainAdminTokens = false }
	b := newBench(t, strict)
	other := newBench(t, func(c *Config) { strict(c); c.AdminKeys, c.Audience = b.cfg.AdminKeys, "another broker" })
	const path = "/kbs/v0/resource/a/b/c"
	steal := func() *thief {
		taken := &thief{}
		client := *b.admin
		client.HTTP = &http.Client{Transport: taken}
		check(t, client.SetResource(t.Context(), "a/b/c", []byte("x")))
		return taken
	}
	for name, c := range map[string]struct {
		at           *bench
		method, path string
		body, want   string
	}{
		"again":          {b, "POST", path, "x", "the token was used before"},
		"other broker":   {other, "POST", path, "x", `the token is for ["this broker"], not for this broker, "another broker"`},
		"other method":   {b, "DELETE", path, "x", "the token is for another request"},
		"other path":     {b, "POST", "/kbs/v0/resource/a/b/d", "x", "the token is for another request"},
		"other query":    {b, "POST", path + "?x=1", "x", "the token is for another request"},
		"other spelling": {b, "POST", "/kbs/v0/resource/a/b/%63", "x", "the token is for another request"},
		"other body":     {b, "POST", path, "y", "the token is for another body"},
		"no body":        {b, "POST", path, "", "the token is for another body"},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := steal().send(c.at, c.method, c.path, []byte(c.body))
			wantProblem(t, status, body, http.StatusUnauthorized, kindAdmin, c.want)
		})
	}
}

func TestTokensThatAreBoundToNothingAreRefused(t *testing.T) {
	b := newBench(t, func(c *Config) { c.PlainAdminTokens = false })
	sum := sha256.Sum256(nil)
	now := b.now.Now().Unix()
	const path = "/kbs/v0/holdfast/resources"
	bound := func(edit func(map[string]any)) map[string]any {
		c := map[string]any{"role": "admin", "aud": "this broker", "iat": now, "exp": now + 60, "jti": randomHex(16), "htm": "GET", "htu": path, "bdh": base64url(sum[:])}
		edit(c)
		return c
	}
	for name, c := range map[string]struct {
		edit func(map[string]any)
		want string
	}{
		"good":         {func(map[string]any) {}, ""},
		"as Trustee's": {func(c map[string]any) { delete(c, "htm"); delete(c, "htu"); delete(c, "bdh") }, "the token is for another request"},
		"no audience":  {func(c map[string]any) { delete(c, "aud") }, "not for this broker"},
		"no ID":        {func(c map[string]any) { delete(c, "jti") }, "no ID of 16 characters"},
		"short ID":     {func(c map[string]any) { c["jti"] = "1" }, "no ID of 16 characters"},
		"long life":    {func(c map[string]any) { c["exp"] = now + 3600 }, "lives longer than"},
		"no time":      {func(c map[string]any) { delete(c, "iat") }, "lives longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			m := b.machine()
			m.token = signed(t, jose.EdDSA, b.admin.Key, bound(c.edit))
			status, body := m.call("GET", path, nil)
			if c.want != "" {
				wantProblem(t, status, body, http.StatusUnauthorized, kindAdmin, c.want)
			} else if status != http.StatusOK {
				t.Errorf("got %d %s", status, body)
			}
		})
	}
}

func TestRolesBoundWhatAnAdministratorDoes(t *testing.T) {
	rules := &roles.Rules{}
	b := newBench(t, func(c *Config) {
		c.PlainAdminTokens = false
		c.Administrators = func() *roles.Rules { return rules }
	})
	b.furnish()
	client := func(name, role string) *admin.Client {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		check(t, err)
		rules.Administrators = append(rules.Administrators, roles.Administrator{Name: name, Roles: []string{role}, Key: public})
		return &admin.Client{URL: b.url, Key: private, Name: "root", Role: role, Audience: b.cfg.Audience, Now: b.cfg.Now}
	}
	olga, anna := client("olga", roles.Operator), client("anna", roles.Auditor)
	ctx := t.Context()
	read := func(c *admin.Client) error { _, err := c.Decisions(ctx); return err }
	for name, c := range map[string]struct {
		do   error
		want string
	}{
		"operator sets":               {olga.SetResource(ctx, "a/b/c", []byte("x")), ""},
		"operator allows":             {olga.Allow(ctx, initDataDigest, []string{"default/key/x"}), ""},
		"operator reads":              {read(olga), ""},
		"operator and policy":         {olga.SetResourcePolicy(ctx, []byte("package policy\nallow := true")), "role operator may not POST this path"},
		"auditor reads":               {read(anna), ""},
		"auditor sets":                {anna.SetResource(ctx, "a/b/c", []byte("x")), "role auditor may not POST this path"},
		"auditor calls himself admin": {(&admin.Client{URL: b.url, Key: anna.Key, Audience: b.cfg.Audience, Now: b.cfg.Now}).SetResource(ctx, "a/b/c", nil), `the token's role is not auditor: it is "admin"`},
		"owner":                       {b.admin.SetResourcePolicy(ctx, []byte("package policy\nallow := true")), ""},
	} {
		if c.want == "" && c.do != nil || c.want != "" && (c.do == nil || !strings.Contains(c.do.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, c.do, c.want)
		}
	}
	actors := map[string]bool{}
	for _, e := range b.auditLog() {
		actors[e.Actor] = true
	}
	if !actors["olga"] || actors["root"] {
		t.Errorf("got the actors %v: the key's owner is not who the token says", actors)
	}
	rules = &roles.Rules{}
	if err := olga.SetResource(ctx, "a/b/c", []byte("x")); err == nil || !strings.Contains(err.Error(), "not signed by an administrator's key") {
		t.Errorf("one who was removed: got %v", err)
	}
	b.now.set(b.now.Now().Add(time.Hour))
	check(t, b.admin.SetResource(ctx, "a/b/c", []byte("x")))
}
