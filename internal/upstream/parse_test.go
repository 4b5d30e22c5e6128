package upstream

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMistakesInTheListAreToldWithTheirLine(t *testing.T) {
	dir := t.TempDir()
	open := filepath.Join(dir, "open.json")
	if err := os.WriteFile(open, []byte(`{"auths":{"a.example":{"auth":"YTpi"}}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	other := loginFile(t, map[string]any{"b.example": map[string]string{"username": "u", "password": "hunter2"}})
	broken := loginFile(t, map[string]any{"a.example": map[string]string{"auth": "hunter2"}})
	for text, want := range map[string]string{
		"upstream: []\n": `:1: unknown key "upstream"; did you mean upstreams?`,
		"upstreams:\n- {url: 'https://a.example'}\n":                                                                    ":2: upstream 1 has no prefix",
		"upstreams:\n- {prefix: a}\n":                                                                                   ":2: upstream a has no url",
		"upstreams:\n- {prefix: A, url: x}\n":                                                                           `:2: prefix "A": want`,
		"upstreams:\n- {prefix: a/../b, url: x}\n":                                                                      `:2: prefix "a/../b": want`,
		"upstreams:\n- {prefix: '', url: x}\n":                                                                          `:2: prefix "": want`,
		"upstreams:\n- {prefix: a, url: a.example}\n":                                                                   `:2: url "a.example": want https://HOST`,
		"upstreams:\n- {prefix: a, url: 'ftp://a'}\n":                                                                   `:2: url "ftp://a": want https://HOST`,
		"upstreams:\n- {prefix: a, url: 'https://u:p@a.example'}\n":                                                     "user and password belong in a file of credentials",
		"upstreams:\n- {prefix: a, url: 'https://a.example/v2/../x'}\n":                                                 "where PATH is the beginning",
		"upstreams:\n- prefix: a\n  url: https://a.example\n- prefix: a\n  url: https://b.example\n":                    ":4: prefix a: another upstream has it",
		"upstreams:\n- {prefix: a, url: 'https://a.example'}\n- {prefix: b, namespaces: a, url: 'https://b.example'}\n": ":3: namespace a: another upstream has it",
		"upstreams:\n- {prefix: a, url: 'https://a.example', recheck: soon}\n":                                          `:2: recheck "soon": want a number of seconds`,
		"upstreams:\n- {prefix: a, url: 'https://a.example', namespaces: ['a b']}\n":                                    `:2: namespace "a b": want HOST[:PORT]`,
		"upstreams:\n- {prefix: a, url: 'http://a.example', credentials: x.json}\n":                                     ":2: credentials would be anybody's on the way",
		"upstreams:\n- {prefix: a, url: 'https://a.example', credentials: none.json}\n":                                 "none.json: no such file",
		"upstreams:\n- {prefix: a, url: 'https://a.example', credentials: " + open + "}\n":                              "open.json: everybody on this machine may read it; chmod 600",
		"upstreams:\n- {prefix: a, url: 'https://a.example', credentials: " + other + "}\n":                             "no login for a.example is in it",
		"upstreams:\n- {prefix: a, url: 'https://a.example', credentials: " + broken + "}\n":                            "the entry of a.example holds no login",
		"upstreams:\n- {prefix: a, url: 'https://a.example', ca: " + open + "}\n":                                       "no certificate in PEM form",
	} {
		path := filepath.Join(dir, "upstreams.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := Load(path, Config{})
		if err == nil || !strings.HasPrefix(err.Error(), path+":") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s got %v, want %s", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a secret is in %v", err)
		}
	}
}

func TestTheFilesThatTheListNamesAreTold(t *testing.T) {
	login := loginFile(t, map[string]any{"a.example": map[string]string{"username": "u", "password": "p"}})
	path := filepath.Join(filepath.Dir(login), "upstreams.yaml")
	text := "upstreams:\n- {prefix: a, url: 'https://a.example', credentials: login.json}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, files, err := Load(path, Config{})
	if got := strings.Join(files, " "); err != nil || got != path+" "+login {
		t.Errorf("got %s, %v", got, err)
	}
}

// A list that is accepted sends nobody's credentials over plain HTTP to
// another machine, and finds each upstream under its own prefix.
//
//fuzz:parser parse.go:parse,setURL,isIPv6 upstream.go:find,Prefix
func FuzzList(f *testing.F) {
	f.Add([]byte("upstreams:\n- {prefix: docker.io, url: 'https://registry-1.docker.io', credentials: a.json, recheck: 60}\n"))
	f.Add([]byte("upstreams:\n- {prefix: a, url: 'http://[::1]:5000/b', namespaces: [x, 'y:1'], ca: c}\n"))
	f.Add([]byte("upstreams: []\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		texts, entries, err := parse(b)
		if err != nil {
			if !strings.HasPrefix(err.Error(), ":") {
				t.Errorf("an error without a line: %v", err)
			}
			return
		}
		s := &Set{}
		for _, e := range entries {
			s.upstreams = append(s.upstreams, &upstream{entry: e})
		}
		for i, e := range entries {
			if e.url.Scheme != "https" && texts[i].Credentials.Text != "" && !isOurs(e.url.Hostname()) {
				t.Errorf("credentials for %s", e.url)
			}
			u, name, err := s.find(e.prefix + "/x")
			if err != nil || u.prefix != e.prefix || name != e.path+"x" || strings.Contains(name, "..") {
				t.Errorf("%s/x: got %s, %v", e.prefix, name, err)
			}
		}
	})
}
