package login

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

const sample = `{"auths": {"https://index.docker.io/v1/": {"auth": "YWxpY2U6ZWNpbGE="}, "quay.io": {"auth": "Ym9iOmJ1aWxkZXI="},
  "ghcr.io": {"username": "carol", "password": "p"}, "gcr.io": {"identitytoken": "t"}, "empty.example": {}, "bad.example": {"auth": "hunter2"}}}`

func file(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "auth.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoginsAreFoundAsDockerAndPodmanWriteThem(t *testing.T) {
	f, err := Open(file(t, sample))
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{
		"docker.io": "alice:ecila:", "index.docker.io": "alice:ecila:", "quay.io": "bob:builder:", "ghcr.io": "carol:p:", "gcr.io": "::t", "other.example": "::",
	} {
		registry, _ := name.NewRegistry(host)
		auth, err := f.Resolve(registry)
		if err != nil {
			t.Fatal(err)
		}
		c, err := authn.Authorization(t.Context(), auth)
		if got := c.Username + ":" + c.Password + ":" + c.IdentityToken; err != nil || got != want {
			t.Errorf("%s: got %s, %v", host, got, err)
		}
	}
}

func TestNothingOfALoginIsTold(t *testing.T) {
	f, err := Open(file(t, sample))
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"empty.example", "bad.example"} {
		if _, _, err := f.Find(host); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", host, err)
		}
	}
	l, _, _ := f.Find("ghcr.io")
	if text := fmt.Sprintf("%v %+v %s", l, struct{ l Login }{l}, l); strings.Contains(text, "carol") {
		t.Errorf("printed as %s", text)
	}
	if _, err := Open(file(t, `hunter2`)); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func TestAFileThatEverybodyMayReadIsRefused(t *testing.T) {
	path := file(t, sample)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("got %v", err)
	}
}

// What is no login is refused without a word of what is there.
//
//fuzz:parser login.go:parse,read,Find
func FuzzFile(f *testing.F) {
	f.Add([]byte(`{"auths": {"a.example": {"auth": "YWxpY2U6ZWNpbGE="}}}`))
	f.Add([]byte(`{"auths": {"https://a.example/v2/": {"username": "u", "password": "p", "identitytoken": "t"}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := parse(b)
		if err != nil {
			return
		}
		l, ok, err := file.Find("a.example")
		if err != nil && len(err.Error()) > 200 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
		if ok != (l.config != nil) || ok && err != nil {
			t.Errorf("got %v, %v from %s", ok, err, b)
		}
	})
}
