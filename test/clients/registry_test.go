// Package clients lets the programs that people use talk to our registry:
// each client in a file of its own, and all of them held to the same claims.
package clients

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/image/transport"
	"holdfast/internal/keys"
	"holdfast/internal/wiring"
)

// The hashes are of apache2-utils' htpasswd.
const rules = `users:
  alice: $2y$05$/2PVhcviTiBQ5t.fbUCUfePou.RJcqXLeWW/QnVkIbP9pJorUQDC. # ecila
  bob: $2y$05$U7coSfOogO8JAUNlBIlR5.CfZYy7i54lUgwnqrM.kB9xzhhSuqIs6   # builder
rules:
  - {repository: public/**, pull: anyone, push: users, delete: alice}
  - {repository: secret/**, push: alice}
`

// A person logs in, or is nobody.
type person struct{ name, password string }

var (
	nobody   = person{}
	alice    = person{"alice", "ecila"}
	bob      = person{"bob", "builder"}
	impostor = person{"alice", "guess"}
)

// A host is a registry that serves until the test ends.
type host struct {
	address string
	state   string
	ca      string // file; empty when it speaks plain HTTP
	log     *logs
}

type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// ring is made once: RSA keys take their time.
var ring = sync.OnceValues(func() (*keys.Ring, error) {
	dir, err := os.MkdirTemp("", "clients")
	if err != nil {
		return nil, err
	}
	return keys.Init(context.Background(), filepath.Join(dir, "keys"), time.Now())
})

func TestMain(m *testing.M) {
	code := m.Run()
	if r, err := ring(); err == nil {
		_ = os.RemoveAll(filepath.Dir(r.Dir()))
	}
	os.Exit(code)
}

func serve(t *testing.T, change func(*wiring.ServeConfig)) host {
	t.Helper()
	h := host{state: t.TempDir(), log: &logs{}}
	r, err := ring()
	if err != nil {
		t.Fatal(err)
	}
	installation, err := wiring.Open(h.state)
	if err != nil {
		t.Fatal(err)
	}
	c := wiring.ServeConfig{
		RegistryListen: "127.0.0.1:0", BrokerListen: "127.0.0.1:0", Access: &wiring.AccessConfig{},
		Log: slog.New(slog.NewTextHandler(h.log, nil)),
	}
	if change != nil {
		change(&c)
	}
	s, err := installation.Serve(r, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	scheme, address, _ := strings.Cut(s.RegistryURL(), "://")
	h.address = address
	if scheme == "https" {
		h.ca = filepath.Join(t.TempDir(), "ca.crt")
		write(t, h.ca, string(r.CertificatePEM(keys.TLS)))
	}
	return h
}

// guarded serves by the rules.
func guarded(t *testing.T, secure bool) host {
	t.Helper()
	return serve(t, func(c *wiring.ServeConfig) { c.TLS, c.Access.Rules = secure, rulesFile(t) })
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A client pushes from and pulls into a place of its own. What it logs in
// with it forgets at once.
type client interface {
	// login says whether the registry takes somebody's password.
	login(h host, who person) error
	push(h host, who person, layout, ref string) error
	// pull gives the digest of the manifest.
	pull(h host, who person, ref string) (digest string, err error)
}

// layout is a folder with one image, called v1; each seed makes another.
func layout(t *testing.T, seed string) (dir, digest string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "layout") // podman makes a name of it, which must be in lower case
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir, writeLayout(t, dir, []byte("layer of "+seed))
}

// hold is what every client is held to.
func hold(t *testing.T, c client, h host) {
	t.Helper()
	for who, works := range map[person]bool{alice: true, bob: true, impostor: false} {
		if err := c.login(h, who); works != (err == nil) {
			t.Errorf("login of %s with %s: %v", who.name, who.password, err)
		}
	}
	dir, _ := layout(t, t.Name())
	for _, p := range []struct {
		who   person
		ref   string
		works bool
	}{
		{alice, "secret/app:v1", true}, {bob, "public/app:v1", true}, {bob, "secret/app:v2", false},
		{nobody, "public/app:v2", false}, {alice, "other/app:v1", false},
	} {
		if err := c.push(h, p.who, dir, h.address+"/"+p.ref); p.works != (err == nil) {
			t.Errorf("%q pushes %s: %v", p.who.name, p.ref, err)
		}
	}
	for _, p := range []struct {
		who   person
		ref   string
		works bool
	}{
		{alice, "secret/app:v1", true}, {nobody, "public/app:v1", true}, {alice, "public/app:v1", true},
		{nobody, "secret/app:v1", false}, {bob, "secret/app:v1", false}, {impostor, "secret/app:v1", false},
	} {
		want := h.digest(t, p.ref) // some clients make another manifest when they push
		got, err := c.pull(h, p.who, h.address+"/"+p.ref)
		if p.works != (err == nil) || p.works && got != want {
			t.Errorf("%q pulls %s: got %s, %v; want %s", p.who.name, p.ref, got, err, want)
		}
	}
	there, absent := refusal(c, h, "secret/app:v1"), refusal(c, h, "secret/none:v1")
	if there != absent || there == "" {
		t.Errorf("bob is told %q of what is there, and %q of what is not", there, absent)
	}
	if log := h.log.String(); strings.Contains(log, "guess") || strings.Contains(log, alice.password) {
		t.Errorf("a password is in the log: %s", log)
	}
}

// refusal is what bob is told of a repository, without its name and times.
func refusal(c client, h host, ref string) string {
	_, err := c.pull(h, bob, h.address+"/"+ref)
	if err == nil {
		return ""
	}
	repository, _, _ := strings.Cut(ref, ":")
	text := strings.ReplaceAll(err.Error(), repository, "REPOSITORY")
	return times.ReplaceAllString(text, "TIME")
}

// run gives standard output, and standard error in the error.
func run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	var out, errs bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &out, &errs
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s %s", name, err, &out, &errs)
	}
	return strings.TrimSpace(out.String()), nil
}

// needs skips a test whose client is not installed.
func needs(t *testing.T, program, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("no %s: apt-get install %s, or make test", program, pkg)
	}
}

// needsRoot skips a test whose client unpacks images or mounts.
func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("wants root: run as root, or make test")
	}
}

// digest is what the registry has under a tag, as alice sees it.
func (h host) digest(t *testing.T, ref string) string {
	t.Helper()
	repository, tag, _ := strings.Cut(ref, ":")
	answer := h.ask(t, alice, http.MethodHead, "/v2/"+repository+"/manifests/"+tag)
	return answer.Header.Get("Docker-Content-Digest")
}

// ask sends a request with a password; the answer's body is read and closed.
func (h host) ask(t *testing.T, who person, method, path string) *http.Response {
	t.Helper()
	scheme, transport := "http://", &http.Transport{}
	if h.ca != "" {
		pool := x509.NewCertPool()
		raw, _ := os.ReadFile(h.ca)
		pool.AppendCertsFromPEM(raw)
		scheme, transport.TLSClientConfig = "https://", &tls.Config{RootCAs: pool}
	}
	defer transport.CloseIdleConnections()
	q, err := http.NewRequestWithContext(t.Context(), method, scheme+h.address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if who != nobody {
		q.SetBasicAuth(who.name, who.password)
	}
	answer, err := (&http.Client{Transport: transport}).Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return answer
}

func ref(t *testing.T, s string) transport.Ref {
	t.Helper()
	r, err := transport.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
