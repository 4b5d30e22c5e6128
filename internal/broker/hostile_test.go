package broker

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
)

// Whoever sends what no client sends is told what is wrong with it, in a
// refusal, and takes no more of the broker than its bound.
func TestOversizedAndMalformedIsRefusedEverywhere(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	deep := strings.Repeat("[", 1<<15)
	bad := map[string]string{
		"nothing": "", "null": "null", "a list": "[]", "a text": `"x"`, "half": `{"version":`, "two": "{}{}", "no text": "{\"version\":\"\xff\"}",
		"a number": "1e999", "a zero byte": "{}\x00", "a tower": deep, "a tower within": `{"runtime-data":{"tee-pubkey":` + deep + strings.Repeat("]", 1<<15) + `},"digest":` + deep + "}",
	}
	for endpoint, bound := range map[string]int{
		"POST /auth": maxRequest, "POST /attest": maxAttestation, "POST /attestation-policy": maxAdmin, "POST /resource-policy": maxAdmin,
		"POST /reference-value": maxAdmin, "POST /holdfast/configurations": maxAdmin, "POST /holdfast/images": maxAdmin, "POST /holdfast/rollback": maxAdmin,
		"POST /holdfast/policies/resource": maxAdmin, "POST /holdfast/keywrap": maxAdmin, "POST /holdfast/keyunwrap": maxAdmin, "POST /holdfast/contents": maxContents,
	} {
		method, path, _ := strings.Cut(endpoint, " ")
		bad["too much"] = `{"version":"` + strings.Repeat("x", bound) + `"}`
		for name, body := range bad {
			m := b.machine()
			if path == "/attest" {
				m.auth()
			} else if path != "/auth" {
				m.token = b.adminToken()
			}
			status, answer := m.call(method, "/kbs/v0"+path, []byte(body))
			want, words := status >= 400 && status < 500, ""
			switch {
			case name == "too much":
				want, words = status == http.StatusRequestEntityTooLarge, "the body is larger than"
			case name == "a tower within" && path == "/attest":
				words = "it is nested more than"
			}
			var p api.ErrorInformation
			if err := json.Unmarshal(answer, &p); err != nil || !want || p.Detail == "" || len(p.Detail) > 4<<10 || !strings.Contains(p.Detail, words) {
				t.Errorf("%s, %s: got %d %.300s", endpoint, name, status, answer)
			}
		}
	}
	if e := b.attested(); e.token == "" {
		t.Error("an honest machine is not served any more")
	}
}

// What a machine writes into a URL or its configuration is data of a policy,
// never a part of it, and stands beside what the broker says.
func TestNothingIsInjectedIntoPolicy(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	const mine = "default/key/x"
	honest, hostile := b.attested(), b.machine()
	hostile.initData = "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\"init_data_digest\" = \"" + initDataDigest + "\"\n\"cdh.toml\" = '''\ninit_data_digest = \"" + initDataDigest +
		"\"\n'''\n\"policy.rego\" = '''\npackage policy\nallow := true\npolicy_data := {\"init_data_digest\": \"" + initDataDigest + "\", \"allow\": true}'''\n\"submods\" = \"cpu0\"\n"
	check(t, b.admin.Allow(t.Context(), digestOf([]byte(hostile.initData)), []string{"default/key/none"}))
	hostile.auth()
	hostile.attest()
	query := url.Values{
		"resource-path": {mine}, "plugin": {"resource"}, "policy": {"allow := true"}, "data.policy.allow": {"true"}, "allow": {"true"}, "input": {"{}"},
		"configurations": {`{"` + initDataDigest + `":{"resources":["default/key/other"]}}`}, "images": {"trusted"}, "a\"] := 1 } allow := true #": {"x"},
	}.Encode()
	for _, c := range []struct {
		m          *machine
		path, want string
	}{
		{honest, "default/key/other?" + query, "may not have resource default/key/other"},
		{hostile, mine, "may not have resource " + mine},
		{hostile, mine + "?" + query, "may not have resource " + mine},
	} {
		status, body := c.m.call("GET", "/kbs/v0/resource/"+c.path, nil)
		wantProblem(t, status, body, http.StatusForbidden, kindDenied, c.want)
	}
	if status, body := honest.call("GET", "/kbs/v0/resource/"+mine+"?"+query, nil); status != http.StatusOK {
		t.Errorf("what it may have: got %d %s", status, body)
	}
}

// A policy of several modules has no way out of its package, nor to the network
// or the clock.
func TestAPolicyStaysInItsPackage(t *testing.T) {
	b := newBench(t, nil)
	const begin = "package policy\nallow := false\n"
	for name, c := range map[string]struct{ text, want string }{
		"another package":     {begin + "# module: b\npackage holdfast\nsaid := {\"allow\": true}", "the package must be policy"},
		"a package below":     {begin + "# module: b\npackage policy.allow\nx := true", "the package must be policy"},
		"the other language":  {begin + "# module: b\n# rego_version: 0\npackage policy\nallow { true }\n# module: c\npackage system", "the package must be policy"},
		"a request":           {"package policy\nimport rego.v1\nallow if http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1\"}).status_code == 200", "undefined function http.send"},
		"the environment":     {"package policy\nimport rego.v1\nallow if opa.runtime().env.HOME", "undefined function opa.runtime"},
		"the clock":           {"package policy\nimport rego.v1\nallow if time.now_ns() > 0", "undefined function time.now_ns"},
		"no policy":           {"package policy\nx := 1", "it has no rule allow"},
		"two that contradict": {begin + "# module: b\npackage policy\nallow := true", ""},
	} {
		err := b.admin.SetResourcePolicy(t.Context(), []byte(c.text))
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) || c.want == "" && err != nil {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	b.furnish()
	m := b.attested()
	for text, want := range map[string]string{
		"":                                 "rule data.policy.allow produced conflicting values",
		"package policy\nallow := \"yes\"": "its result is not as documented",
		"package policy\nimport rego.v1\nallow if 1 / input.exp == 1 / 0": "divide by zero",
	} {
		if text != "" {
			check(t, b.admin.SetResourcePolicy(t.Context(), []byte(text)))
		} else {
			check(t, b.admin.SetResourcePolicy(t.Context(), []byte(begin+"# module: b\npackage policy\nallow := true")))
		}
		status, body := m.call("GET", "/kbs/v0/resource/default/key/x", nil)
		wantProblem(t, status, body, http.StatusForbidden, kindDenied, want)
	}
}

// The clock jumps; what it ends has ended, and nothing that ended comes back.
func TestClockJumpsReleaseNothing(t *testing.T) {
	ring, prove := proving(t)
	b := newBench(t, prove)
	start := b.now.Now()
	m := released(t, b, ring)
	waiting := b.machine()
	waiting.auth()
	get := func(m *machine) (int, []byte) { return m.call("GET", "/kbs/v0/resource/default/key/x", nil) }
	bearing := &machine{b: b, key: m.key, token: m.token}

	b.now.set(start.Add(365 * 24 * time.Hour))
	for name, c := range map[string]*machine{"session": {b: b, key: m.key, cookie: m.cookie}, "token": bearing} {
		if status, body := get(c); status != http.StatusUnauthorized {
			t.Errorf("%s, a year ahead: got %d %s", name, status, body)
		}
	}
	status, body := waiting.call("POST", "/kbs/v0/attest", waiting.attestation())
	wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, "unknown or has expired")
	ahead := b.attested() // whose token is of next year

	b.now.set(start)
	status, body = get(&machine{b: b, key: ahead.key, token: ahead.token})
	wantProblem(t, status, body, http.StatusUnauthorized, kindToken, "which is yet to come")
	status, body = get(bearing) // whose time was over
	wantProblem(t, status, body, http.StatusUnauthorized, kindToken, "made before this broker's clock was set back")
	if status, body := get(b.attested()); status != http.StatusOK {
		t.Errorf("who attests again: got %d %s", status, body)
	}

	b.now.set(start.Add(-time.Hour))
	status, body = get(&machine{b: b, key: m.key, token: m.token})
	wantProblem(t, status, body, http.StatusUnauthorized, kindToken, "which is yet to come")
	late := b.attested()
	if status, body := get(late); status != http.StatusOK {
		t.Errorf("an honest machine, an hour back: got %d %s", status, body)
	}
}

// Base64 of a nonce has one spelling, since text is compared.
func TestANonceHasOneSpelling(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	for name, spell := range map[string]func(string) string{
		"no padding":  func(n string) string { return strings.TrimRight(n, "=") },
		"line break":  func(n string) string { return n[:10] + "\n" + n[10:] },
		"loose bits":  func(n string) string { return n[:42] + next(n[42]) + "=" },
		"other nonce": func(n string) string { return base64.StdEncoding.EncodeToString(make([]byte, 32)) },
	} {
		m := b.machine()
		m.auth()
		m.nonce = spell(m.nonce)
		status, body := m.call("POST", "/kbs/v0/attest", m.attestation())
		t.Run(name, func(t *testing.T) {
			wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, "the nonce is not the one of this session's challenge")
		})
	}
}

// next is a letter of base64 that differs in its last bits, which decoders skip.
func next(c byte) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	return string(letters[strings.IndexByte(letters, c)^1])
}
