package roles

import (
	"crypto/ed25519"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

const key = `-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
`

func indented(text string) string {
	return "      " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n      ")
}

func TestShippedRolesAllowNoMoreThanTheirWork(t *testing.T) {
	r := &Rules{}
	for _, c := range []struct {
		role, method, path string
		want               bool
	}{
		{Admin, "POST", "/kbs/v0/resource-policy", true},
		{Operator, "POST", "/kbs/v0/resource/a/b/c", true},
		{Operator, "DELETE", "/kbs/v0/holdfast/configurations/sha256:00", true},
		{Operator, "GET", "/kbs/v0/holdfast/audit", true},
		{Operator, "POST", "/kbs/v0/resource-policy", false},
		{Operator, "POST", "/kbs/v0/attestation-policy", false},
		{Operator, "POST", "/kbs/v0/holdfast/restore", false},
		{Auditor, "GET", "/kbs/v0/holdfast/audit", true},
		{Auditor, "GET", "/kbs/v0/resource/a/b/c", false},
		{Auditor, "POST", "/kbs/v0/reference-value", false},
		{Auditor, "GET", "/kbs/v0/holdfast\n/audit", false},
		{"", "GET", "/kbs/v0/holdfast/audit", false},
		{"nobody", "GET", "/kbs/v0/holdfast/audit", false},
	} {
		if got := r.May(c.role, c.method, c.path); got != c.want {
			t.Errorf("%s %s %s: got %t", c.role, c.method, c.path, got)
		}
	}
}

func TestAnAlternativeDoesNotSlipPastTheAnchors(t *testing.T) {
	r, err := Parse([]byte("roles:\n  x:\n  - {methods: GET, paths: '^/kbs/v0/resource/a|b$'}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{"/kbs/v0/resource/a": true, "/kbs/v0/resource/a/secret": false, "/anything/b": false} {
		if got := r.May("x", "GET", path); got != want {
			t.Errorf("%s: got %t", path, got)
		}
	}
}

func TestMistakesHaveTheirLine(t *testing.T) {
	for text, want := range map[string]string{
		"administrators:\n  anna:\n    roles: auditor\n    key: x\n":                       ":4: administrator anna: key: want one PEM block",
		"administrators:\n  anna:\n    roles: king\n    key: |\n" + indented(key) + "\n":   ":3: administrator anna: there is no role king",
		"administrators:\n  an na:\n    roles: admin\n    key: |\n" + indented(key) + "\n": ":4: name \"an na\": want letters",
		"roles:\n  x:\n  - paths: '/kbs/v0/resource'\n":                                    ":3: role \"x\": paths \"/kbs/v0/resource\": want an expression from ^/kbs to $",
		"roles:\n  x:\n  - paths: '^/kbs/(v0$'\n":                                          ":3: role \"x\": paths: error parsing regexp",
		"roles:\n  x:\n  - {paths: '^/kbs/v0$', methods: [GET, get]}\n":                    ":3: role \"x\": method \"get\": want one of",
		"admins: {}\n": ":1: ",
		"":             "the file is empty",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), `role "king"`, "role king"), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestAdministratorsAreAddedAndRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admins.yaml")
	public, err := ParseKey([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	anna := Administrator{Name: "anna", Roles: []string{Auditor}, Key: public}
	if err := Add(path, anna); err != nil {
		t.Fatal(err)
	}
	if err := Add(path, anna); !errors.Is(err, ErrExist) {
		t.Errorf("again: got %v", err)
	}
	if err := Add(path, Administrator{Name: "bert", Roles: []string{"king"}, Key: public}); err == nil {
		t.Error("a role that does not exist was given")
	}
	r, err := Load(path)
	if err != nil || len(r.Administrators) != 1 || r.Administrators[0].Name != "anna" || !public.(ed25519.PublicKey).Equal(r.Administrators[0].Key) {
		t.Fatalf("got %+v, %v", r, err)
	}
	if err := Remove(path, "anna"); err != nil {
		t.Fatal(err)
	}
	if err := Remove(path, "anna"); !errors.Is(err, ErrNotExist) {
		t.Errorf("again: got %v", err)
	}
	if r, err = Load(path); err != nil || len(r.Administrators) != 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}

// Whatever is read, nobody without a role may do anything.
//
//fuzz:parser roles.go
func FuzzParse(f *testing.F) {
	f.Add([]byte("administrators:\n  anna:\n    roles: [auditor, x]\n    key: |\n" + indented(key) + "\nroles:\n  x:\n  - {methods: GET, paths: '^/kbs/v0/resource/.+$'}\n"))
	f.Add([]byte("roles: {x: [{paths: '^/kbs|$'}]}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Parse(text)
		if err != nil {
			return
		}
		for _, a := range r.Administrators {
			if CheckName(a.Name) != nil || a.Key == nil {
				t.Errorf("got %+v", a)
			}
		}
		if r.May("no such role", "GET", "/kbs/v0/resource/a/b/c") {
			t.Error("a role that is not there may read")
		}
	})
}
