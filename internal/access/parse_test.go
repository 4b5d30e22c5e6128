package access

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const aliceHash = "$2y$05$/2PVhcviTiBQ5t.fbUCUfePou.RJcqXLeWW/QnVkIbP9pJorUQDC."

func TestMistakesInRulesAreToldWithTheirLine(t *testing.T) {
	user := "users:\n  alice: " + aliceHash + "\n"
	for text, want := range map[string]string{
		"usrs: {}\n":                                                    `:1: unknown key "usrs"; did you mean users?`,
		"users:\n  alice: secret\n":                                     ":2: password of alice: want a bcrypt hash",
		"users:\n  alice: $apr1$x$y\n":                                  ":2: password of alice: want a bcrypt hash",
		"users:\n  a b: " + aliceHash + "\n":                            `:2: name "a b": want letters and digits`,
		"users:\n  anyone: " + aliceHash + "\n":                         `:2: name "anyone": it has a meaning`,
		"users:\n  alice: " + strings.Replace(aliceHash, "05", "15", 1): ":2: password of alice: bcrypt's cost is 15, want 14 at most",
		user + "groups: {team: [alice, bob]}\n":                         `:3: group team: no user is called "bob"`,
		user + "groups: {alice: [alice]}\n":                             ":3: group alice: a user has this name",
		"rules:\n- pull: users\n":                                       ":1: rule 1 has no repository",
		"rules:\n- repository: A\n":                                     `:2: repository "A": want a name's parts`,
		"rules:\n- repository: a/**/b\n":                                `:2: repository "a/**/b": want`,
		"rules:\n- repository: ../a\n":                                  `:2: repository "../a": want`,
		"rules:\n- repository: a\n  pull: team\n":                       `:3: pull: no user and no group is called "team"`,
		"rules:\n- repository: a\n  pulls: users\n":                     `:3: unknown key "pulls"; did you mean pull?`,
		"rules:\n- repository: a/**\n- repository: a/b*\n":              ":3: repository a/b*: never reached, the rule at line 2 fits first",
		"proxies: [10.0.0.0/33]\n":                                      `:1: proxy "10.0.0.0/33": want an address, or a network`,
		"login: digest\n":                                               `:1: login "digest": want bearer or basic`,
	} {
		path := filepath.Join(t.TempDir(), "access.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path)
		if err == nil || !strings.HasPrefix(err.Error(), path+want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func TestPatternsThatCoverOthers(t *testing.T) {
	for _, c := range []struct {
		p, q string
		want bool
	}{
		{"**", "a/b", true}, {"a/**", "a/b/**", true}, {"a/*", "a/b", true}, {"a/*", "a/{user}", true}, {"a/b*", "a/bc*", true},
		{"a/b*", "a/{user}", false}, {"a/*", "a/**", false}, {"a/**", "a", false}, {"a", "b", false}, {"a/bc*", "a/b*", false},
		{"{user}/a", "bob/a", false}, {"a/*", "a/b/c", false},
	} {
		p, _ := parsePattern(c.p)
		q, _ := parsePattern(c.q)
		if got := p.covers(q); got != c.want {
			t.Errorf("%s covers %s: %v", c.p, c.q, got)
		}
	}
}

// The grammar is that of distribution's docs/content/spec/auth/scope.md, and
// the first examples are its own.
func TestScopesAreReadAsDistributionWritesThem(t *testing.T) {
	for text, want := range map[string]string{
		"repository:samalba/my-app:pull,push":              "repository:samalba/my-app:pull,push",
		"repository:samalba/my-app:push repository:x:pull": "repository:samalba/my-app:push|repository:x:pull",
		"repository(plugin):a/b:pull":                      "repository:a/b:pull",
		"repository:localhost:5000/a:pull":                 "repository:localhost:5000/a:pull",
		"registry:catalog:*":                               "registry:catalog:*",
		"repository:a:pull,pull,PUSH,":                     "repository:a:pull",
		"repository:a":                                     "",
		"repository:a:":                                    "",
		":a:pull":                                          "",
		"":                                                 "",
	} {
		var got []string
		for _, s := range parseScopes([]string{text}) {
			got = append(got, s.String())
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%q: got %q", text, got)
		}
	}
}
