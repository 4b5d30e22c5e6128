package web

import (
	"net/http"
	"strings"
	"testing"

	"holdfast/internal/api"
)

// The pages are made of what the broker keeps of machines and of a browser's
// session. No word that opens anything is on one of them.
func TestNoPageHasASecret(t *testing.T) {
	const (
		value  = "canary-of-a-value"
		bearer = "eyJhbGciOiJFUzI1NiJ9.canary-of-a-token.c2ln"
		cookie = "canary-of-a-kbs-session-id"
		nonce  = "canary-of-a-nonce"
	)
	d := furnished(t)
	const session = "00000000000000d1"
	d.asks(session, func(input, data map[string]any) {
		input["init_data"].(map[string]any)["data"] = map[string]any{"secret.toml": value}
		input["token"], input["cookie"], input["nonce"], input["runtime_data"] = bearer, cookie, nonce, map[string]any{"nonce": nonce}
		data["resources"] = map[string]any{"default/key/x": value}
	})
	d.gets(session, "default/key/x")
	d.decisions = append(d.decisions, api.RecordedDecision{ID: 99, Session: session, Action: "get-resource", Kind: "resource", Policy: 1, Allow: true,
		Input: []byte(`{"submods":{"cpu0":{}},"raw":"` + bearer + `"}`), Data: []byte(`{"plugin":"resource","resource-path":["default","key","x"],"value":"` + value + `"}`)})
	k := newDesk(t, d)
	link := k.door.Ticket()
	entered, err := k.client.Get(k.url + link)
	if err != nil {
		t.Fatal(err)
	}
	entered.Body.Close()
	cookies := entered.Cookies()
	if len(cookies) != 1 || len(cookies[0].Value) < 26 {
		t.Fatalf("got cookies %v", cookies)
	}
	canaries := []string{value, bearer, "canary-of-a-token", cookie, nonce, cookies[0].Value, strings.TrimPrefix(link, enterPath)}
	again := k.door.Ticket() // one that opens still
	canaries = append(canaries, strings.TrimPrefix(again, enterPath))
	for _, path := range []string{"/", "/?only=refused", "/machine/" + session, "/machine/00000000000000a2", "/log", "/images", "/configurations", "/policies", "/policies/resource/2?from=1",
		"/keys", "/health", "/nothing", "/machine/ffffffffffffffff", "/web/style.css", link} {
		status, page := k.see(http.MethodGet, path)
		if path == "/machine/"+session && (status != http.StatusOK || !strings.Contains(page, "default/key/x") || !strings.Contains(page, "secret.toml")) {
			t.Errorf("%s: %d, and does not tell of what this test is about", path, status)
		}
		for _, c := range canaries {
			if strings.Contains(page, c) {
				t.Errorf("%s (%d) has %q", path, status, c)
			}
		}
	}
}

// What decided is told only where a decision tells it: a version that nobody
// kept was not the shipped one.
func TestAVersionThatIsNotKnownIsNotTheShippedOne(t *testing.T) {
	d := newDiary(t)
	for session, policy := range map[string]int64{"00000000000000e1": -1, "00000000000000e2": 0, "00000000000000e3": 2} {
		d.asks(session, nil)
		d.gets(session, "default/key/x")
		if policy >= 0 {
			d.decisions = append(d.decisions, api.RecordedDecision{Session: session, Action: "get-resource", Kind: "resource", Policy: policy, Allow: true,
				Data: []byte(`{"plugin":"resource","resource-path":["default","key","x"]}`)})
		}
	}
	k := newDesk(t, d).enter()
	for session, want := range map[string]string{"00000000000000e1": "version not kept", "00000000000000e2": "as shipped", "00000000000000e3": "version 2"} {
		k.shows("/machine/"+session, "resource policy "+want)
	}
}
