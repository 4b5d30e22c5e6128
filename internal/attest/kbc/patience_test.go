package kbc_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest/kbc"
)

// unchallenged is an attester that needs no challenge.
type unchallenged struct{ attester }

func (unchallenged) Evidence(context.Context, []byte, *api.ActivationChallenge) (json.RawMessage, error) {
	return json.RawMessage("{}"), nil
}

// busy is a broker that refuses the first times.
func busy(t *testing.T, times int32, status int, after string) (*kbc.Client, *atomic.Int32) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) <= times {
			w.Header().Set("Retry-After", after)
			w.WriteHeader(status)
			return
		}
		if r.URL.Path == api.KBSPrefix+"/auth" {
			_ = json.NewEncoder(w).Encode(api.KBSChallenge{Nonce: "AAAA"})
			return
		}
		_ = json.NewEncoder(w).Encode(api.KBSToken{Token: "token"})
	}))
	t.Cleanup(server.Close)
	c, err := kbc.New(kbc.Config{URL: server.URL, Attester: unchallenged{}, Patience: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return c, &asked
}

func TestABusyBrokerIsAskedAgainWhenItSaysSo(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		c, asked := busy(t, 1, status, "1")
		if err := c.Attest(t.Context()); err != nil || asked.Load() != 3 {
			t.Errorf("%d: got %v after %d requests, want 3", status, err, asked.Load())
		}
	}
}

func TestPatienceWithABusyBrokerEnds(t *testing.T) {
	for after, want := range map[string]int32{"1": 3, "3": 1, "65536": 1, "soon": 1, "-1": 1} {
		c, asked := busy(t, 1000, http.StatusTooManyRequests, after)
		err := c.Attest(t.Context())
		var p *kbc.Problem
		if !errors.As(err, &p) || p.Status != http.StatusTooManyRequests || asked.Load() != want {
			t.Errorf("Retry-After %s: got %v after %d requests, want %d", after, err, asked.Load(), want)
		}
	}
	c, asked := busy(t, 1000, http.StatusForbidden, "1")
	if err := c.Attest(t.Context()); err == nil || asked.Load() != 1 {
		t.Errorf("a refusal is final: got %v after %d requests", err, asked.Load())
	}
}
