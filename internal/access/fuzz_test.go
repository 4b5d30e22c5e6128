package access

import (
	"crypto/ed25519"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Rules that are accepted give nothing to a stranger that they do not say is
// for anyone, and a user can be added to them or they stay as they are.
//
//fuzz:parser parse.go rules.go edit.go ../form/form.go ../form/word.go
func FuzzRules(f *testing.F) {
	f.Add([]byte(rulesText), "public/app")
	f.Add([]byte("login: basic\nusers: {}\nrules: []\n"), "a")
	f.Add([]byte("a: &a [*a]\n---\n"), "a")
	f.Add([]byte("rules:\n- {repository: '**', pull: [users], push: [anyone]}\n"), "a/b")
	f.Fuzz(func(t *testing.T, b []byte, repository string) {
		r, err := parse(b)
		if err != nil {
			if text := err.Error(); !strings.HasPrefix(text, ":") {
				t.Errorf("an error without a line: %s", text)
			}
			return
		}
		open := slices.ContainsFunc(r.rules, func(u rule) bool {
			return slices.Contains(slices.Concat(u.who[Pull], u.who[Push], u.who[Delete]), anyone)
		})
		if r.May("", Pull, repository) && !open {
			t.Errorf("anyone may pull %q by %s", repository, b)
		}
		if r.May("nobody", Pull, repository) {
			t.Error("one whom nobody knows may pull")
		}
		path := filepath.Join(t.TempDir(), "access.yaml")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		err = Remove(t.Context(), path, "nobody")
		if after, _ := os.ReadFile(path); err == nil || string(after) != string(b) {
			t.Errorf("%v: became %s", err, after)
		}
	})
}

// A scope that is read is written as one that reads the same.
//
//fuzz:parser scope.go:parseScopes,parseScope
func FuzzScopes(f *testing.F) {
	f.Add("repository:samalba/my-app:pull,push repository(plugin):localhost:5000/x:*")
	f.Add("registry:catalog:*")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range parseScopes([]string{text}) {
			again := parseScopes([]string{s.String()})
			if len(again) != 1 || again[0].String() != s.String() {
				t.Errorf("%q reads back as %v", s, again)
			}
		}
	})
}

// Whatever is asked of the endpoint of tokens and with whatever authorization,
// nobody without a password gets more than anyone may have.
//
//fuzz:parser access.go:caller,bearer token.go:verify,open endpoint.go handler.go source.go
func FuzzAuthorization(f *testing.F) {
	_, key, _ := ed25519.GenerateKey(nil)
	rules, err := parse([]byte(rulesText))
	if err != nil {
		f.Fatal(err)
	}
	for name := range rules.hashes {
		rules.hashes[name] = decoy(4)
	}
	g, err := New(Config{Rules: func() *Rules { return rules }, Key: key})
	if err != nil {
		f.Fatal(err)
	}
	guarded := g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		if c := CallerOf(q.Context()); c.LoggedIn() || c.May(Pull, "secret/app") || c.May(Push, "public/app") {
			panic("somebody got in")
		}
	}))
	token, _ := g.mint.issue(claims{Use: useAccess}, accessLife)
	f.Add(uint8(0), "/token?scope=repository:secret/app:pull", "Basic YWxpY2U6eA==", "")
	f.Add(uint8(1), "/token", "", "grant_type=password&username=alice&password=x&scope=repository:secret/app:pull")
	f.Add(uint8(1), "/token", "", "grant_type=refresh_token&refresh_token="+token)
	f.Add(uint8(0), "/v2/", "Bearer "+token, "")
	f.Add(uint8(2), "/v2/a/manifests/b", "bearer  x", "")
	f.Fuzz(func(t *testing.T, method uint8, target, authorization, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		q := httptest.NewRequest([]string{"GET", "POST", "PUT"}[method%3], "/", strings.NewReader(body))
		q.URL, q.RemoteAddr = u, authorization+":1"
		q.Header.Set("Authorization", authorization)
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		guarded.ServeHTTP(w, q)
		var a answer
		if w.Code != http.StatusOK || json.Unmarshal(w.Body.Bytes(), &a) != nil {
			return
		}
		c, err := g.mint.verify(a.Token, useAccess)
		if err != nil || c.Subject != "" || strings.Contains(a.Scope, "secret") || strings.Contains(a.Scope, "push") {
			t.Errorf("got %s", w.Body)
		}
	})
}
