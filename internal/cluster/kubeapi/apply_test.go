package kubeapi

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

const manifest = `{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: b}, data: {x: y}}`

// What a server says for a moment when it has just begun is asked again, and
// what it will always say is not.
func TestObjectsAreAskedForUntilTheServerTakesThem(t *testing.T) {
	for name, c := range map[string]struct {
		first http.HandlerFunc // what becomes of the first two tries
		asked int
		code  int // of the error
	}{
		"starting":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, 3, 0},
		"too many":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }, 3, 0},
		"not ready":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, 3, 0},
		"broken off": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 3, 0},
		"wrong":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnprocessableEntity) }, 1, http.StatusUnprocessableEntity},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				if asked.Add(1) < 3 {
					c.first(w, q)
				}
			}))
			defer server.Close()
			client := &Client{server.URL, server.Client()}
			err := client.Apply([]byte(manifest), func(ask Ask) error {
				for {
					if err := ask(t.Context()); err == nil || IsWrong(err) {
						return err
					}
				}
			})
			var said *StatusError
			if errors.As(err, &said) != (c.code > 0) || said != nil && said.Code != c.code || said == nil && err != nil {
				t.Errorf("got %v", err)
			}
			if int(asked.Load()) != c.asked {
				t.Errorf("asked %d times, want %d", asked.Load(), c.asked)
			}
		})
	}
}
