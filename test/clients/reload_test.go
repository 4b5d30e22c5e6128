package clients

import (
	"crypto/tls"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/access"
	"holdfast/internal/keys"
	"holdfast/internal/wiring"
)

func rulesFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "access.yaml")
	write(t, path, rules)
	return path
}

// soon waits for what a server has to notice by itself.
func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	for began := time.Now(); time.Since(began) < 20*time.Second; time.Sleep(50 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Errorf("%s: never came", what)
}

func TestRulesThatChangeCountWithoutARestart(t *testing.T) {
	file := rulesFile(t)
	h := serve(t, func(c *wiring.ServeConfig) { c.Access.Rules = file })
	status := func() int { return h.ask(t, bob, http.MethodGet, "/v2/").StatusCode }
	if got := status(); got != http.StatusOK {
		t.Fatalf("bob gets %d", got)
	}
	write(t, file, strings.Replace(rules, "  bob: ", "  bobby: ", 1))
	soon(t, "bob is out", func() bool { return status() == http.StatusUnauthorized })
	write(t, file, strings.Replace(rules, "login", "users: [", 1)+"\nlogin: [\n")
	soon(t, "a mistake is logged", func() bool { return strings.Contains(h.log.String(), file+":") })
	if got := status(); got != http.StatusUnauthorized {
		t.Errorf("after a mistake in the file, bob gets %d", got)
	}
	if got := h.ask(t, alice, http.MethodGet, "/v2/").StatusCode; got != http.StatusOK {
		t.Errorf("after a mistake in the file, alice gets %d", got)
	}
	write(t, file, rules)
	soon(t, "bob is back", func() bool { return status() == http.StatusOK })
}

func TestTheFirstUserClosesTheRegistry(t *testing.T) {
	h := serve(t, nil)
	if got := h.ask(t, nobody, http.MethodGet, "/v2/"); got.StatusCode != http.StatusOK {
		t.Fatalf("without rules: got %s", got.Status)
	}
	file := filepath.Join(h.state, "access.yaml")
	if _, err := access.Put(t.Context(), file, alice.name, alice.password); err != nil {
		t.Fatal(err)
	}
	soon(t, "it is closed", func() bool { return h.ask(t, nobody, http.MethodGet, "/v2/").StatusCode == http.StatusUnauthorized })
	if got := h.ask(t, alice, http.MethodGet, "/v2/"); got.StatusCode != http.StatusOK {
		t.Errorf("alice gets %s", got.Status)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	soon(t, "it is noticed", func() bool {
		return strings.Contains(h.log.String(), "no such file") || strings.Contains(h.log.String(), "not exist")
	})
	if got := h.ask(t, nobody, http.MethodGet, "/v2/"); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("without its rules it is open again: %s", got.Status)
	}
}

func TestACertificateThatChangesIsUsedWithoutARestart(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	replace := func() *keys.Ring {
		made, err := keys.Init(t.Context(), filepath.Join(t.TempDir(), "keys"), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		writePair(t, made, cert, key)
		return made
	}
	first := replace()
	h := serve(t, func(c *wiring.ServeConfig) { c.Access.Cert, c.Access.Key = cert, key })
	shows := func(r *keys.Ring) bool {
		conn, err := tls.Dial("tcp", h.address, &tls.Config{RootCAs: poolOf(r), ServerName: "localhost"})
		if err == nil {
			_ = conn.Close()
		}
		var unknown *tls.CertificateVerificationError
		if err != nil && !errors.As(err, &unknown) {
			t.Fatal(err)
		}
		return err == nil
	}
	if !shows(first) {
		t.Fatal("not the certificate that was given")
	}
	second := replace()
	soon(t, "the new one is shown", func() bool { return shows(second) })
	write(t, key, "no key")
	soon(t, "the mistake is logged", func() bool { return strings.Contains(h.log.String(), cert+" with key "+key) })
	if !shows(second) {
		t.Error("a bad file took the good certificate away")
	}
}
