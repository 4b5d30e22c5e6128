package hub_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"holdfast/internal/guest/hub"
	"holdfast/test/port"
)

// An agent remembers what it was asked.
type agent struct{ asked []string }

func (a *agent) TEE() string { return "tpm" }

func (a *agent) Token(context.Context) (string, []byte, error) { return "t.o.k", []byte("PEM\n"), nil }

func (a *agent) Evidence(_ context.Context, data []byte) ([]byte, error) {
	a.asked = append(a.asked, string(data))
	return []byte(`{"quote":1}`), nil
}

func (a *agent) resource(_ context.Context, uri string) ([]byte, error) {
	a.asked = append(a.asked, uri)
	if strings.HasSuffix(uri, "/denied") {
		return nil, errors.New("the broker refused (401): no rule allows it")
	}
	return []byte("value\x00"), nil
}

func ask(h http.Handler, method, target, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:1"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const none = "" // no type of content

// The answers are those that api-server-rest/src/router.rs and utils.rs give
// (guest-components at 8246e5e).
func TestAnswersAreThoseOfTheGuestComponents(t *testing.T) {
	const octets, json = "application/octet-stream", "application/json"
	for _, c := range []struct {
		method, target, body string
		status               int
		kind, want, asked    string
	}{
		{"GET", "/cdh/resource/default/key/1", "", 200, octets, "value\x00", "kbs:///default/key/1"},
		{"GET", "/cdh/resource/default/key/1?x=y", "", 200, octets, "value\x00", "kbs:///default/key/1"},
		{"POST", "/cdh/resource/default/key/1", "", 200, octets, "value\x00", "kbs:///default/key/1"},
		{"GET", "/cdh/resource/a/b/%63", "", 200, octets, "value\x00", "kbs:///a/b/%63"},
		{"GET", "/cdh/resource/a/b/denied", "", 500, none, "the broker refused (401): no rule allows it", "kbs:///a/b/denied"},
		{"GET", "/cdh/resource", "", 404, none, "URL NOT FOUND", ""},
		{"GET", "/cdh/unknown/foo/bar", "", 404, none, "URL NOT FOUND", ""},
		{"GET", "/aa/token?token_type=kbs", "", 200, octets, `{"token":"t.o.k","tee_keypair":"PEM\n"}`, ""},
		{"GET", "/aa/token?token_type=coco_as", "", 500, none, `token type "coco_as" is not supported: want kbs`, ""},
		{"GET", "/aa/token", "", 400, none, "BAD REQUEST", ""},
		{"POST", "/aa/token?token_type=kbs", "", 404, none, "URL NOT FOUND", ""},
		{"GET", "/aa/evidence?runtime_data=a%20b+c%zz", "", 200, octets, `{"quote":1}`, "a b c%zz"},
		{"GET", "/aa/evidence?runtime_data=eHh4eA&encoding=base64", "", 200, octets, `{"quote":1}`, "xxxx"},
		{"GET", "/aa/evidence?runtime_data=1&runtime_data=2", "", 200, octets, `{"quote":1}`, "2"},
		{"GET", "/aa/evidence?runtime_data=eHh4eA==&encoding=base64", "", 400, none, "BAD REQUEST", ""},
		{"GET", "/aa/evidence?runtime_data=data&encoding=hex", "", 400, none, "BAD REQUEST", ""},
		{"GET", "/aa/evidence", "", 400, none, "BAD REQUEST", ""},
		{"GET", "/aa/additional-evidence?runtime_data=x", "", 200, octets, "", ""},
		{"GET", "/aa/additional-evidence", "", 400, none, "BAD REQUEST", ""},
		{"POST", "/aa/aael", `{"domain":"d","operation":"o","content":"c"}`, 200, json,
			`{"success":"false","message": "Attestation Agent does not enable eventlog recording"}`, ""},
		{"POST", "/aa/aael", `{"domain":"d"}`, 500, none, "event: want an object with domain, operation and content, texts each", ""},
		{"GET", "/aa/aael", "", 404, none, "URL NOT FOUND", ""},
		{"GET", "/info", "", 200, json, `{"version":"v","tee":"tpm","feature":"all"}`, ""},
		{"POST", "/info", "", 405, none, "Method Not Allowed", ""},
		{"GET", "/", "", 404, none, "URL NOT FOUND", ""},
		{"GET", "/foo/bar", "", 404, none, "URL NOT FOUND", ""},
	} {
		a := &agent{}
		w := ask(hub.New(hub.Config{Version: "v", Resource: a.resource, Attestation: a}), c.method, c.target, c.body)
		if w.Code != c.status || w.Body.String() != c.want || w.Header().Get("Content-Type") != c.kind || strings.Join(a.asked, " ") != c.asked {
			t.Errorf("%s %s: got %d %q %q, asked %q; want %d %q %q, asked %q", c.method, c.target,
				w.Code, w.Header().Get("Content-Type"), w.Body, a.asked, c.status, c.kind, c.want, c.asked)
		}
	}
}

func TestAFeatureThatIsNotMeasuredIsNotThere(t *testing.T) {
	a := &agent{}
	resource, attestation := hub.New(hub.Config{Resource: a.resource}), hub.New(hub.Config{Attestation: a})
	for _, c := range []struct {
		h            http.Handler
		target, want string
	}{
		{resource, "/aa/token?token_type=kbs", "Attestation Feature Not Enabled"},
		{resource, "/aa/evidence?runtime_data=x", "Attestation Feature Not Enabled"},
		{attestation, "/cdh/resource/a/b/c", "Resource Feature Not Enabled"},
	} {
		if w := ask(c.h, "GET", c.target, ""); w.Code != http.StatusNotFound || w.Body.String() != c.want || len(a.asked) > 0 {
			t.Errorf("%s: got %d %s", c.target, w.Code, w.Body)
		}
	}
	for h, want := range map[http.Handler]string{resource: `{"version":"","feature":"resource"}`, attestation: `{"version":"","tee":"tpm","feature":"attestation"}`} {
		if got := ask(h, "GET", "/info", "").Body.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestNobodyOutsideIsAnswered(t *testing.T) {
	a := &agent{}
	h := hub.New(hub.Config{Resource: a.resource})
	for remote, want := range map[string]int{"127.0.0.1:1": 200, "[::1]:1": 200, "10.0.2.2:1": 403, "": 403, "x": 403} {
		r := httptest.NewRequest("GET", "/cdh/resource/a/b/c", nil)
		r.RemoteAddr = remote
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != want {
			t.Errorf("%q: got %d, want %d", remote, w.Code, want)
		}
	}
}

func TestConnectionsThatSayNothingHoldNoMoreThanTheirPlaces(t *testing.T) {
	address := port.Address(t)
	a := &agent{}
	stop, err := hub.Serve(address, hub.New(hub.Config{Resource: a.resource}))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	var idle []net.Conn
	for range 64 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	for _, c := range idle {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	answer, err := http.Get("http://" + address + "/cdh/resource/a/b/c")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if got, err := io.ReadAll(answer.Body); err != nil || string(got) != "value\x00" {
		t.Errorf("got %q, %v", got, err)
	}
}
