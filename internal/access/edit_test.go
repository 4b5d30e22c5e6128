package access

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

func TestUsersComeAndGoAndTheRestOfTheFileStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.yaml")
	text := "# ours\nlogin: basic\nusers:   # people\n    alice: " + aliceHash + " # since May\nrules:\n- repository: a/*\n  pull: users\n"
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	if added, err := Put(t.Context(), path, "bob", "builder"); err != nil || !added {
		t.Fatal(added, err)
	}
	r, err := Load(path)
	if err != nil || strings.Join(r.Users(), " ") != "alice bob" {
		t.Fatal(r, err)
	}
	if err := bcrypt.CompareHashAndPassword([]byte(r.hashes["bob"]), []byte("builder")); err != nil {
		t.Error(err)
	}
	if added, err := Put(t.Context(), path, "bob", "fixer"); err != nil || added {
		t.Errorf("got %v, %v for one who was there", added, err)
	}
	if err := Remove(t.Context(), path, "bob"); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != text {
		t.Errorf("got\n%s, want\n%s", got, text)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestTheFirstUserMakesAFileThatOnlyUsersGetPast(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.yaml")
	if _, err := Put(t.Context(), path, "yes", "secret"); err != nil { // a word that YAML takes for true
		t.Fatal(err)
	}
	r, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if !r.May("yes", Push, "a/b") || r.May("", Pull, "a/b") {
		t.Error("want users to push, and nobody else to pull")
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestFilesOfManyFormsAreChangedOrLeftAsTheyAre(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.yaml")
	for text, works := range map[string]bool{
		"users: {}\n": true, "rules: []": true, "---\nrules: []\n": true, "users:\nrules:\n": true,
		"users: {alice: " + aliceHash + "}\n": false, "users:\n  alice: >-\n    " + aliceHash + "\n": false, "users: ~\n": false, "": false,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Put(t.Context(), path, "bob", "builder")
		got, _ := os.ReadFile(path)
		r, bad := Load(path)
		switch {
		case works != (err == nil):
			t.Errorf("%q: got %v", text, err)
		case works && (bad != nil || r.hashes["bob"] == ""):
			t.Errorf("%q: became %q: %v", text, got, bad)
		case !works && string(got) != text:
			t.Errorf("%q: became %q", text, got)
		}
	}
}

func TestNobodyIsRemovedWhomRulesName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.yaml")
	if err := os.WriteFile(path, []byte(rulesText), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Remove(t.Context(), path, "alice"); !errors.Is(err, ErrInRules) {
		t.Errorf("got %v", err)
	}
	if err := Remove(t.Context(), path, "carol"); !errors.Is(err, ErrNoUser) {
		t.Errorf("got %v", err)
	}
	if got, _ := os.ReadFile(path); string(got) != rulesText {
		t.Errorf("the file became %s", got)
	}
}

// Apache's htpasswd takes the hash for what it is.
func TestHtpasswdVerifiesOurHashes(t *testing.T) {
	if _, err := exec.LookPath("htpasswd"); err != nil {
		t.Skip("no htpasswd: apt-get install apache2-utils, or make test")
	}
	hash, err := Hash("pass word")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(path, []byte("alice:"+hash+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for password, works := range map[string]bool{"pass word": true, "password": false} {
		if err := exec.Command("htpasswd", "-vb", path, "alice", password).Run(); works != (err == nil) {
			t.Errorf("%q: %v", password, err)
		}
	}
}

func TestPasswordsThatBcryptCannotTellApartAreRefused(t *testing.T) {
	for _, password := range []string{"", strings.Repeat("a", 73), "a\x00b", "a\n"} {
		if _, err := Hash(password); err == nil {
			t.Errorf("%q was taken", password)
		}
	}
}
