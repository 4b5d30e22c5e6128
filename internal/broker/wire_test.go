package broker

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/api"
)

// The rows of docs/formats/kbs.md, "Case by case": each is asked here, and
// each that is asked here stands there.
var rowForm = regexp.MustCompile(`(?m)^\| (W\d\d) \|`)

// An exchange is one request and what its answer must be, as bytes on the wire.
type exchange struct {
	method, path, body string
	cookie, bearer     string
	status             int
	contentType        string // "" when there is none
	members            string // of a JSON object, in order; "" when the body is empty
	kind               string // of a refusal
	detail             string // how a refusal begins
	check              func(t *testing.T, resp *http.Response, body []byte)
}

func (b *bench) exchange(t *testing.T, e exchange) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(e.method, b.url+e.path, strings.NewReader(e.body))
	check(t, err)
	if e.cookie != "" {
		req.Header.Set("Cookie", "kbs-session-id="+e.cookie)
	}
	if e.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+e.bearer)
	}
	resp, err := http.DefaultClient.Do(req)
	check(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	check(t, err)
	if resp.StatusCode != e.status || resp.Header.Get("Content-Type") != e.contentType {
		t.Errorf("%s %s: got %d %q %s, want %d %q", e.method, e.path, resp.StatusCode, resp.Header.Get("Content-Type"), body, e.status, e.contentType)
	}
	if got := strings.Join(membersOf(body), " "); got != e.members {
		t.Errorf("%s %s: got the members %q, want %q", e.method, e.path, got, e.members)
	}
	if e.kind != "" {
		var p api.ErrorInformation
		check(t, json.Unmarshal(body, &p))
		if p.Type != api.ProblemPrefix+e.kind || !strings.HasPrefix(p.Detail, e.detail) {
			t.Errorf("%s %s: got %s %q, want %s %q…", e.method, e.path, p.Type, p.Detail, e.kind, e.detail)
		}
	}
	if e.check != nil {
		e.check(t, resp, body)
	}
	return resp, body
}

// membersOf are the names in an object, in the order that they are written.
func membersOf(body []byte) (names []string) {
	d := json.NewDecoder(bytes.NewReader(body))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil
	}
	for d.More() {
		name, err := d.Token()
		var value json.RawMessage
		if err != nil || d.Decode(&value) != nil {
			return nil
		}
		names = append(names, name.(string))
	}
	return names
}

const (
	problemMembers = "type detail"
	jsonType       = "application/json"
	// As build_request of guest-components writes it (kbs_protocol/src/client/rcar_client.rs).
	trusteeRequest = `{"version":"0.4.0","tee":"tpm","extra-params":{"supported-hash-algorithms":["sha256","sha384","sha512","sm3"],"tpm-activation":{}}}`
	thePath        = "/kbs/v0/resource/default/key/x"
)

func TestTheWireIsTrustees(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	admin := b.adminToken()
	rows := map[string]func(t *testing.T){
		"W01": func(t *testing.T) {
			b.exchange(t, exchange{method: "POST", path: "/kbs/v0/auth", body: trusteeRequest, status: 200, contentType: jsonType, members: "nonce extra-params",
				check: func(t *testing.T, resp *http.Response, body []byte) {
					var c struct{ Nonce string }
					check(t, json.Unmarshal(body, &c))
					if nonce, err := base64.StdEncoding.DecodeString(c.Nonce); err != nil || len(nonce) != 32 || len(c.Nonce) != 44 {
						t.Errorf("got the nonce %q", c.Nonce)
					}
					cookies := resp.Cookies()
					if len(cookies) != 1 || cookies[0].Name != "kbs-session-id" || cookies[0].Expires.IsZero() {
						t.Errorf("got the cookies %v", cookies)
					}
				}})
		},
		"W02": func(t *testing.T) {
			b.exchange(t, exchange{method: "POST", path: "/kbs/v0/auth", body: strings.Replace(trusteeRequest, "0.4.0", "0.1.1", 1), status: 401, contentType: jsonType,
				members: problemMembers, kind: "AttestationError", detail: "RCAR handshake Auth failed: KBS Client Protocol Version Mismatch: expect =0.4.0 while the request is 0.1.1"})
		},
		"W03": func(t *testing.T) {
			b.exchange(t, exchange{method: "POST", path: "/kbs/v0/auth", body: "{", status: 401, contentType: jsonType, members: problemMembers, kind: "AttestationError", detail: "RCAR handshake Auth failed: "})
		},
		"W04": func(t *testing.T) {
			b.exchange(t, exchange{method: "POST", path: "/kbs/v0/auth", body: `{"version":"0.4.0","tee":"tpm","extra-params":""}`, status: 401, contentType: jsonType, members: problemMembers, kind: "AttestationError"})
		},
		"W05": func(t *testing.T) {
			b.exchange(t, exchange{method: "POST", path: "/kbs/v0/attest", body: "{}", status: 401, contentType: jsonType, members: problemMembers, kind: "AttestationError", detail: "RCAR handshake Attest failed"})
		},
		"W06": func(t *testing.T) {
			m := b.machine()
			m.auth()
			raw, err := json.Marshal(m.attestation())
			check(t, err)
			asked := m.cookie.Value
			resp, _ := b.exchange(t, exchange{method: "POST", path: "/kbs/v0/attest", body: string(raw), cookie: asked, status: 200, contentType: jsonType, members: "token"})
			if c := resp.Cookies(); len(c) != 1 || c[0].Name != "kbs-session-id" {
				t.Errorf("got the cookies %v", c)
			}
			b.exchange(t, exchange{method: "POST", path: "/kbs/v0/attest", body: string(raw), cookie: asked, status: 401, contentType: jsonType, members: problemMembers, kind: "AttestationError", detail: "RCAR handshake Attest failed"})
		},
		"W07": func(t *testing.T) {
			m := b.machine()
			m.auth()
			a := m.attestation()
			a.RuntimeData.Nonce = "x"
			raw, err := json.Marshal(a)
			check(t, err)
			b.exchange(t, exchange{method: "POST", path: "/kbs/v0/attest", body: string(raw), cookie: m.cookie.Value, status: 401, contentType: jsonType, members: problemMembers, kind: "AttestationError", detail: "RCAR handshake Attest failed"})
		},
		"W08": func(t *testing.T) {
			m := b.machine()
			m.auth()
			m.attest()
			want := exchange{method: "GET", path: thePath, status: 200, contentType: jsonType, members: "protected encrypted_key iv ciphertext tag"}
			byCookie, byToken := want, want
			byCookie.cookie, byToken.bearer = m.cookie.Value, m.token
			for _, e := range []exchange{byCookie, byToken} {
				_, body := b.exchange(t, e)
				if got := m.open(body); got != "the key" {
					t.Errorf("got %q", got)
				}
			}
		},
		"W09": func(t *testing.T) {
			b.exchange(t, exchange{method: "GET", path: thePath, status: 401, contentType: jsonType, members: problemMembers, kind: "TokenNotFound", detail: "Attestation Token not found"})
		},
		"W10": func(t *testing.T) {
			b.exchange(t, exchange{method: "GET", path: thePath, bearer: "e30.e30.e30", status: 401, contentType: jsonType, members: problemMembers, kind: "TokenVerifierError", detail: "Token Verifier error"})
		},
		"W11": func(t *testing.T) {
			m := b.machine()
			m.auth()
			m.attest()
			b.exchange(t, exchange{method: "GET", path: "/kbs/v0/resource/default/key/other", bearer: m.token, status: 403, contentType: jsonType, members: problemMembers, kind: "PolicyDeny", detail: "Access denied by policy"})
			b.exchange(t, exchange{method: "GET", path: "/kbs/v0/resource/default/key/absent", bearer: m.token, status: 404, contentType: jsonType, members: problemMembers, kind: "PluginInternalError"})
		},
		"W12": func(t *testing.T) {
			b.exchange(t, exchange{method: "POST", path: "/kbs/v0/resource/a/b/c", body: "x", bearer: admin, status: 200})
			b.exchange(t, exchange{method: "DELETE", path: "/kbs/v0/resource/a/b/c", bearer: admin, status: 200})
		},
		"W13": func(t *testing.T) {
			b.exchange(t, exchange{method: "POST", path: "/kbs/v0/resource/a/b/c", body: "x", status: 401, contentType: jsonType, members: problemMembers, kind: "AdminAuthAccess", detail: "admin access denied for endpoint resource/a/b/c"})
		},
		"W14": func(t *testing.T) {
			policy := base64url([]byte("package policy\nallow := false"))
			b.exchange(t, exchange{method: "POST", path: "/kbs/v0/attestation-policy", bearer: admin, status: 200, body: `{"type":"rego","policy_id":"default_gpu","policy":"` + policy + `"}`})
			b.exchange(t, exchange{method: "POST", path: "/kbs/v0/attestation-policy", bearer: admin, status: 400, contentType: jsonType, members: problemMembers, kind: "ParsePolicyError",
				body: `{"type":"rego","policy_id":"fake_policy_id","policy":"` + policy + `"}`})
		},
		"W15": func(t *testing.T) {
			other := newBench(t, nil)
			token := other.adminToken()
			other.exchange(t, exchange{method: "POST", path: "/kbs/v0/resource-policy", bearer: token, status: 200, body: `{"policy":"` + base64url([]byte("package policy\nallow := false")) + `"}`})
			_, body := other.exchange(t, exchange{method: "GET", path: "/kbs/v0/resource-policy", bearer: token, status: 200, contentType: jsonType})
			if strings.TrimSpace(string(body)) != `["resource-policy"]` {
				t.Errorf("got %s", body)
			}
		},
		"W16": func(t *testing.T) {
			values := base64.StdEncoding.EncodeToString([]byte(`{"svn":["1"],"major_version":1}`))
			b.exchange(t, exchange{method: "POST", path: "/kbs/v0/reference-value", bearer: admin, status: 200, body: `{"version":"0.1.0","type":"sample","payload":"` + values + `"}`})
			_, body := b.exchange(t, exchange{method: "GET", path: "/kbs/v0/reference-value/svn", bearer: admin, status: 200, contentType: jsonType})
			if strings.TrimSpace(string(body)) != `["1"]` {
				t.Errorf("got %s", body)
			}
			b.exchange(t, exchange{method: "GET", path: "/kbs/v0/reference-value/other", bearer: admin, status: 404, contentType: jsonType, members: problemMembers, kind: "RvpsError"})
			b.exchange(t, exchange{method: "POST", path: "/kbs/v0/reference-value", bearer: admin, status: 400, contentType: jsonType, members: problemMembers, kind: "RvpsError", body: `{"version":"9","type":"sample","payload":"e30="}`})
		},
		"W17": func(t *testing.T) {
			b.exchange(t, exchange{method: "GET", path: "/kbs/v0/unknown/x", status: 404, contentType: jsonType, members: problemMembers, kind: "PluginNotFound"})
		},
		"W18": func(t *testing.T) {
			b.exchange(t, exchange{method: "GET", path: "/kbs/v0/resource/a/b/..%2fc", status: 404, contentType: jsonType, members: problemMembers})
		},
		"W19": func(t *testing.T) { b.exchange(t, exchange{method: "GET", path: "/healthz", status: 200}) },
		"W20": func(t *testing.T) {
			_, body := b.exchange(t, exchange{method: "GET", path: "/metrics", status: 200, contentType: "text/plain; version=0.0.4"})
			for _, name := range []string{"kbs_auth_requests_total", "kbs_attestation_requests_total", "kbs_attestation_successes_total", "kbs_attestation_failures_total",
				"kbs_policy_approvals_total", "kbs_policy_violations_total", "kbs_resource_reads_total"} {
				if !bytes.Contains(body, []byte("\n"+name+" ")) {
					t.Errorf("no metric %s", name)
				}
			}
		},
	}
	page, err := os.ReadFile("../../docs/formats/kbs.md")
	check(t, err)
	var written []string
	for _, m := range rowForm.FindAllSubmatch(page, -1) {
		written = append(written, string(m[1]))
	}
	if asked := slices.Sorted(maps.Keys(rows)); !slices.Equal(asked, written) {
		t.Errorf("asked are %v, written %v", asked, written)
	}
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		t.Run(id, rows[id])
	}
}

// The cases of Trustee's integration-tests/tests/get_resource.rs, with this
// broker's evidence: policies and values by name decide as they do there.
func TestTrusteesIntegrationCases(t *testing.T) {
	const (
		contraindicated = "package policy\nimport rego.v1\ndefault allow := false\nallow if {\n\tinput.submods.cpu0[\"ear.status\"] != \"contraindicated\"\n}"
		byValue         = "package policy\nimport rego.v1\ndefault executables := 33\nexecutables := 3 if input.claims.pcr11 in query_reference_value(\"launch_digest\")\nallow := true\ntrust_claims := {\"executables\": executables, \"hardware\": 2, \"configuration\": 2}"
		failing         = "package policy\nallow := true\ntrust_claims := {\"executables\": 97}"
	)
	for name, c := range map[string]struct {
		attestation, resource string
		values                string
		want                  int
	}{
		"basic_ear_allow_all":        {failing, "package policy\nallow := true", "", 200},
		"basic_ear_deny_all":         {failing, "package policy\nallow := false", "", 403},
		"policy_contraindicated":     {failing, contraindicated, "", 403},
		"policy_not_contraindicated": {byValue, contraindicated, `{"launch_digest":["` + pcr("b") + `"]}`, 200},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.furnish()
			check(t, b.admin.SetAttestationPolicy(t.Context(), []byte(c.attestation)))
			check(t, b.admin.SetResourcePolicy(t.Context(), []byte(c.resource)))
			if c.values != "" {
				b.exchange(t, exchange{method: "POST", path: "/kbs/v0/reference-value", bearer: b.adminToken(), status: 200,
					body: `{"version":"0.1.0","type":"sample","payload":"` + base64.StdEncoding.EncodeToString([]byte(c.values)) + `"}`})
			}
			m := b.machine()
			m.auth()
			m.attest()
			if status, body := m.call("GET", thePath, nil); status != c.want {
				t.Errorf("got %d %s, want %d", status, body, c.want)
			}
		})
	}
}
