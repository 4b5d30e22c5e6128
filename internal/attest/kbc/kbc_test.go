package kbc_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"holdfast/internal/attest/kbc"
)

func TestAttestedClientReadsItsResources(t *testing.T) {
	b := newBroker(t)
	c := b.client(t)
	var wg sync.WaitGroup
	for _, tag := range []string{"a", "b", "c"} {
		wg.Go(func() {
			got, err := c.Resource(t.Context(), "kbs:///default/key/"+tag)
			if err != nil || !bytes.Equal(got, secretOf(tag)) {
				t.Errorf("%s: got %x, %v", tag, got, err)
			}
		})
	}
	wg.Wait()
	if n := b.handshake.Load(); n != 1 {
		t.Errorf("%d handshakes, want 1", n)
	}
}

func TestTEEKeyIsWrittenAsKBSTypesDoes(t *testing.T) {
	b := newBroker(t)
	if err := b.client(t).Attest(t.Context()); err != nil {
		t.Fatal(err)
	}
	var key map[string]string
	if err := json.Unmarshal(b.key, &key); err != nil {
		t.Fatal(err)
	}
	if len(key) != 5 || key["kty"] != "EC" || key["crv"] != "P-256" || key["alg"] != "ECDH-ES+A256KW" {
		t.Errorf("key is %v", key)
	}
	for _, name := range []string{"x", "y"} {
		if data, err := base64.RawURLEncoding.DecodeString(key[name]); err != nil || len(data) != 32 {
			t.Errorf("%s is %q, want 32 bytes", name, key[name])
		}
	}
}

func TestRefusalIsAProblem(t *testing.T) {
	b := newBroker(t)
	for tag, want := range map[string]struct {
		status int
		kind   string
	}{"denied": {401, "PolicyDeny"}, "absent": {404, "PluginNotFound"}} {
		c := b.client(t)
		_, err := c.Resource(t.Context(), "kbs:///default/key/"+tag)
		var p *kbc.Problem
		if !errors.As(err, &p) || p.Status != want.status || p.Kind() != want.kind {
			t.Errorf("got %v, want a problem %v", err, want)
		}
	}
	if n := b.fetches.Load(); n != 2 {
		t.Errorf("%d fetches, want 2: a refusal is final", n)
	}
}

func TestExpiredTokenIsRenewedOnce(t *testing.T) {
	b := newBroker(t)
	c := b.client(t)
	if err := c.Attest(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.handshake.Add(1) // the broker forgets the token
	if got, err := c.Resource(t.Context(), "kbs:///default/key/a"); err != nil || !bytes.Equal(got, secretOf("a")) {
		t.Errorf("got %x, %v", got, err)
	}
	b.intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/resource/") {
			b.fetches.Add(1)
			refuse(w, http.StatusUnauthorized, "TokenVerifierError", "expired")
			return true
		}
		return false
	}
	before := b.fetches.Load()
	var p *kbc.Problem
	if _, err := c.Resource(t.Context(), "kbs:///default/key/a"); !errors.As(err, &p) || b.fetches.Load() != before+2 {
		t.Errorf("got %v after %d fetches, want a problem after 2", err, b.fetches.Load()-before)
	}
}

// hangUp breaks the connection of the first n requests.
func hangUp(n int) func(http.ResponseWriter, *http.Request) bool {
	var mu sync.Mutex
	return func(w http.ResponseWriter, _ *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		n--
		if n < 0 {
			return false
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
		return true
	}
}

func TestBrokenConnectionIsTriedAgain(t *testing.T) {
	b := newBroker(t)
	b.intercept = hangUp(2)
	if err := b.client(t).Attest(t.Context()); err != nil {
		t.Error(err)
	}
	b.intercept = hangUp(1000)
	if err := b.client(t).Attest(t.Context()); err == nil {
		t.Error("a broker that always hangs up attested")
	}
}

func TestOtherAuthorityIsRefusedAtOnce(t *testing.T) {
	b := newBroker(t)
	var log bytes.Buffer
	c, err := kbc.New(kbc.Config{
		URL: b.URL, HTTP: &http.Client{}, Attester: attester{},
		Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Attest(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v, want an error about the certificate", err)
	}
	if log.Len() > 0 {
		t.Errorf("a wrong certificate is tried again: %s", log.String())
	}
}

func TestAnswersThatAreNotTheBrokersAreErrors(t *testing.T) {
	for name, c := range map[string]struct {
		path   string // the request answered
		answer func(http.ResponseWriter)
		want   string
	}{
		"redirect":          {"/auth", func(w http.ResponseWriter) { w.Header().Set("Location", "/elsewhere"); w.WriteHeader(307) }, "307"},
		"no JSON":           {"/auth", text("<html>"), "invalid character"},
		"no nonce":          {"/auth", text(`{"extra-params":null}`), "no nonce"},
		"other hash":        {"/auth", text(`{"nonce":"bg==","extra-params":{"selected-hash-algorithm":"sha256"}}`), `"sha256"`},
		"no activation":     {"/auth", text(`{"nonce":"bg==","extra-params":""}`), "challenge is"},
		"no token":          {"/attest", text(`{}`), "no token"},
		"endless":           {"/attest", text(strings.Repeat(" ", 5<<20)), "larger than"},
		"refusal, no JSON":  {"/attest", func(w http.ResponseWriter) { w.WriteHeader(500) }, "500 Internal Server Error"},
		"resource, no JWE":  {"/resource/default/key/a", text(`{}`), "no JWE"},
		"resource in clear": {"/resource/default/key/a", text("secret"), "no JWE"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t)
			b.intercept = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/elsewhere" {
					t.Error("the redirect was followed")
				}
				if r.URL.Path != "/kbs/v0"+c.path {
					return false
				}
				c.answer(w)
				return true
			}
			_, err := b.client(t).Resource(t.Context(), "kbs:///default/key/a")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func text(s string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { _, _ = w.Write([]byte(s)) }
}

func TestResourceNameIsThreePlainSegments(t *testing.T) {
	c := newBroker(t).client(t)
	for _, uri := range []string{
		"", "default/key/a", "kbs://host/default/key/a", "kbs:///key/a", "kbs:///a/b/c/d", "kbs:///a//c",
		"kbs:///a/../c", "kbs:///a/b/c?d=e", "kbs:///a/b/%2e%2e", "kbs:///a/b/c#d", "kbs:///a/b/c d",
	} {
		if _, err := c.Resource(t.Context(), uri); err == nil || !strings.Contains(err.Error(), "expected kbs:///") {
			t.Errorf("%q: got %v", uri, err)
		}
	}
}

func TestClosedClientFetchesNothing(t *testing.T) {
	b := newBroker(t)
	c := b.client(t)
	if err := c.Attest(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Close()
	c.Close()
	if _, err := c.Resource(t.Context(), "kbs:///default/key/a"); err == nil || b.fetches.Load() > 0 {
		t.Errorf("got %v after %d fetches", err, b.fetches.Load())
	}
}

func TestEndedContextEndsTheHandshake(t *testing.T) {
	b := newBroker(t)
	b.intercept = hangUp(1000)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.client(t).Attest(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestClientWantsABrokerAndAnAttester(t *testing.T) {
	for _, c := range []kbc.Config{{}, {URL: "https://x"}, {Attester: attester{}}} {
		if _, err := kbc.New(c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}
