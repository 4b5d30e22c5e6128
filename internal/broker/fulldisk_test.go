package broker

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// A fullState has no room for another word.
type fullState struct{ State }

func (fullState) Once(context.Context, string, time.Time) error {
	return fmt.Errorf("state: %w", syscall.ENOSPC)
}

func TestAdministratorsReadWhileTheDiskIsFull(t *testing.T) {
	b := newBench(t, func(c *Config) { c.PlainAdminTokens = false })
	b.furnish()
	b.state = fullState{b.state}
	paths, err := b.admin.Resources(t.Context())
	if err != nil || len(paths) != 2 {
		t.Errorf("got %v, %v, want what there is", paths, err)
	}
	if err := b.admin.Withdraw(t.Context(), initDataDigest); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("a change: got %v, want that there is no space", err)
	}
	const path = "/kbs/v0/holdfast/resources"
	sum, now := sha256.Sum256(nil), b.now.Now().Unix()
	token := signed(t, jose.EdDSA, b.admin.Key, map[string]any{"role": "admin", "aud": "this broker", "iat": now, "exp": now + 60,
		"jti": randomHex(16), "htm": "GET", "htu": path, "bdh": base64url(sum[:])})
	b.exchange(t, exchange{method: "GET", path: path, bearer: token, status: http.StatusOK, contentType: "application/json"})
	m := b.machine()
	m.token = token
	status, body := m.call("GET", path, nil)
	wantProblem(t, status, body, http.StatusUnauthorized, kindAdmin, "the token was used before")
}
