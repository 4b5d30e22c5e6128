package wiring

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestWhoComesThroughAProxyIsNotOfThisMachine(t *testing.T) {
	for _, c := range []struct {
		from, header string
		want         bool
	}{
		{"127.0.0.1:1", "", true}, {"[::1]:1", "", true}, {"192.0.2.1:1", "", false}, {"", "", false},
		{"127.0.0.1:1", "X-Forwarded-For", false}, {"127.0.0.1:1", "Forwarded", false},
	} {
		q := httptest.NewRequest(http.MethodGet, "/", nil)
		if q.RemoteAddr = c.from; c.header != "" {
			q.Header.Set(c.header, "192.0.2.1")
		}
		if got := isOwn(q); got != c.want {
			t.Errorf("%q with %q: got %v, want %v", c.from, c.header, got, c.want)
		}
	}
}
