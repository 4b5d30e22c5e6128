package hub

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// What net/url reads, is read alike; and the rest is text too.
//
//fuzz:parser query.go
func FuzzQuery(f *testing.F) {
	f.Add("runtime_data=eHh4eA&encoding=base64")
	f.Add("a=1&a=2&b+c=%zz%41&&=&%")
	f.Fuzz(func(t *testing.T, query string) {
		got := parseQuery(query)
		for name, value := range got {
			if !utf8.ValidString(name) || !utf8.ValidString(value) {
				t.Errorf("%q is %q: no text", name, value)
			}
		}
		theirs, err := url.ParseQuery(query)
		if err != nil || !areTexts(theirs) {
			return
		}
		want := map[string]string{}
		for name, values := range theirs {
			want[name] = values[len(values)-1]
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %q, net/url has %q", got, want)
		}
	})
}

func areTexts(v url.Values) bool {
	for name, values := range v {
		if !utf8.ValidString(name) || slices.ContainsFunc(values, func(s string) bool { return !utf8.ValidString(s) }) {
			return false
		}
	}
	return true
}

type nobody struct{}

func (nobody) TEE() string                                             { return "tpm" }
func (nobody) Token(context.Context) (string, []byte, error)           { return "t", nil, nil }
func (nobody) Evidence(_ context.Context, data []byte) ([]byte, error) { return data, nil }

// Whatever a workload asks, it is one of the answers that there are.
//
//fuzz:parser hub.go attestation.go
func FuzzRequest(f *testing.F) {
	f.Add("GET", "/cdh/resource/a/b/c", "")
	f.Add("GET", "/aa/evidence?runtime_data=eHg&encoding=base64", "")
	f.Add("POST", "/aa/aael", `{"domain":"d","operation":"o","content":"c"}`)
	f.Add("GET", "/aa/token?token_type=kbs", "")
	f.Fuzz(func(t *testing.T, method, target, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		h := New(Config{Attestation: nobody{}, Resource: func(_ context.Context, uri string) ([]byte, error) {
			if !strings.HasPrefix(uri, "kbs:///") {
				t.Errorf("asked for %q", uri)
			}
			return []byte(uri), nil
		}})
		r := &http.Request{Method: method, URL: u, RemoteAddr: "127.0.0.1:1", Body: http.NoBody, Header: http.Header{}}
		r.Body = httptest.NewRequest("POST", "/", strings.NewReader(body)).Body
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		switch w.Code {
		case 200, 400, 404, 405, 500:
		default:
			t.Errorf("%s %s: got %d", method, target, w.Code)
		}
	})
}
