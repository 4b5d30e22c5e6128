package broker

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestCookiesAreWrittenAsNetHTTPDoes(t *testing.T) {
	for _, r := range []*http.Request{{}, {TLS: &tls.ConnectionState{}}} {
		got, want := httptest.NewRecorder(), httptest.NewRecorder()
		c := cookie(base64url(randomBytes(3000)), time.Unix(2e9, 0), false)
		setCookie(got, r, c)
		c.Secure = r.TLS != nil
		http.SetCookie(want, c)
		if got, want := got.Header().Get("Set-Cookie"), want.Header().Get("Set-Cookie"); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
