package broker

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/sample"
	"holdfast/internal/broker/admin"
	"holdfast/internal/broker/roles"
)

// The cases of Trustee's integration-tests, by their names there, from what
// they describe. docs/formats/kbs.md lists them with ours.

const affirmAll = "package policy\nallow := true\ntrust_claims := {\"hardware\": 2, \"executables\": 3, \"configuration\": 2}"

// integration/get_resource.rs: devices beside the processor.
func TestTrusteesDeviceCases(t *testing.T) {
	const checked = "package policy\nimport rego.v1\ndefault allow := false\nallow if {\n\tinput.submods.cpu0[\"ear.status\"] != \"contraindicated\"\n\tinput.submods.gpu0[\"ear.status\"] != \"contraindicated\"\n}"
	const byValue = "package policy\nimport rego.v1\ndefault hardware := 97\nhardware := 2 if input.nvidia.pcr00 in query_reference_value(\"device_svn\")\nallow := true\ntrust_claims := {\"hardware\": hardware}"
	for name, c := range map[string]struct {
		values string
		want   int
	}{
		"device_contraindicated":     {`{"svn":["1"]}`, http.StatusForbidden},
		"device_not_contraindicated": {`{"svn":["1"],"device_svn":["2"]}`, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.Verifiers = append(c.Verifiers, fakeGPU{}) })
			b.furnish()
			check(t, b.admin.SetAttestationPolicy(t.Context(), []byte(affirmAll)))
			check(t, b.admin.SetResourcePolicy(t.Context(), []byte(checked)))
			b.judgeGPUs(byValue)
			b.exchange(t, exchange{method: "POST", path: "/kbs/v0/reference-value", bearer: b.adminToken(), status: 200,
				body: `{"version":"0.1.0","type":"sample","payload":"` + base64.StdEncoding.EncodeToString([]byte(c.values)) + `"}`})
			m := b.machine()
			m.auth()
			status, body := m.call("POST", "/kbs/v0/attest", m.composite("2", "nvidia"))
			if status != http.StatusOK {
				t.Fatalf("attest: %d %s", status, body)
			}
			if status, body := m.call("GET", thePath, nil); status != c.want {
				t.Errorf("got %d %s, want %d", status, body, c.want)
			}
		})
	}
}

// integration/init_data.rs: the resource policy reads init-data of sample
// evidence by its hash, by a field of its configuration, and by the data of
// the agent's policy.
func TestTrusteesInitDataCases(t *testing.T) {
	withPolicy, err := os.ReadFile("../attest/initdata/testdata/trustee/init-data-with-policy.toml")
	check(t, err)
	const withConfig = "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\"cdh.toml\" = '''\n[image]\nextra_root_certificates = [\"a certificate\"]\n'''\n"
	sum := sha256.Sum256([]byte(withConfig))
	const evidence = `input.submods.cpu0["ear.veraison.annotated-evidence"]`
	rule := func(condition string) string {
		return "package policy\nimport rego.v1\ndefault allow := false\nallow if " + evidence + condition
	}
	for name, c := range map[string]struct{ document, policy string }{
		"get_resource_with_init_data_hash":   {withConfig, rule(`.init_data == "` + base64.StdEncoding.EncodeToString(sum[:]) + `"`)},
		"get_resource_with_init_data_config": {withConfig, rule(`.init_data_claims["cdh.toml"].image.extra_root_certificates[0] == "a certificate"`)},
		"get_resource_with_policy_init_data": {string(withPolicy), rule(`.init_data_claims.agent_policy_claims.containers[1].OCI.Process.Args[0] == "/opt/bitnami/scripts/nginx/entrypoint.sh"`)},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.Verifiers = []attest.Verifier{sample.Verifier{}} })
			b.furnish()
			check(t, b.admin.SetAttestationPolicy(t.Context(), []byte(affirmAll)))
			check(t, b.admin.SetResourcePolicy(t.Context(), []byte(c.policy)))
			for document, want := range map[string]int{c.document: http.StatusOK, initDataBody: http.StatusForbidden} {
				m := b.machine()
				m.initData = document
				status, body := m.shakeSample()
				var token api.KBSToken
				if err := json.Unmarshal(body, &token); err != nil || status != http.StatusOK {
					t.Fatalf("attest: %d %s", status, body)
				}
				if status, body := m.call("GET", thePath, nil); status != want {
					t.Errorf("got %d %s, want %d", status, body, want)
				}
			}
		})
	}
}

// integration/init_data.rs: a policy tells in the token which images and users
// the agent's policy, which init-data brought, lets run.
func TestTrusteesIdentifiersCase(t *testing.T) {
	const policy = affirmAll + `
containers := input.init_data_claims.agent_policy_claims.containers
extensions := [{"name": "ear.trustee.identifiers", "key": -18, "value": {"validated": {
	"container_images": [c.OCI.Annotations["io.kubernetes.cri.image-name"] | some c in containers],
	"container_uids": [c.OCI.Process.User.UID | some c in containers],
}}}]`
	document, err := os.ReadFile("../attest/initdata/testdata/trustee/init-data-with-policy.toml")
	check(t, err)
	b := newBench(t, func(c *Config) { c.Verifiers = []attest.Verifier{sample.Verifier{}} })
	b.furnish()
	check(t, b.admin.SetAttestationPolicy(t.Context(), []byte(policy)))
	m := b.machine()
	m.initData = string(document)
	status, body := m.shakeSample()
	var token api.KBSToken
	if err := json.Unmarshal(body, &token); err != nil || status != http.StatusOK {
		t.Fatalf("attest: %d %s", status, body)
	}
	v, err := b.tokens.verify(token.Token)
	check(t, err)
	cpu := v.claims["submods"].(map[string]any)["cpu0"].(map[string]any)
	got, err := json.Marshal(cpu["ear.trustee.identifiers"])
	check(t, err)
	const want = `{"validated":{"container_images":["bitnami/nginx:latest"],"container_uids":[65535,1001]}}`
	if string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// integration/admin.rs: each operation with the administrator's key, another,
// where nobody administers, and by a role that may not.
func TestTrusteesAdminCases(t *testing.T) {
	operations := map[string]func(*admin.Client) error{
		"set_policy": func(c *admin.Client) error {
			return c.SetResourcePolicy(t.Context(), []byte("package policy\nallow := true"))
		},
		"set_attestation_policy": func(c *admin.Client) error { return c.SetAttestationPolicy(t.Context(), []byte(affirmAll)) },
		"set_secret":             func(c *admin.Client) error { return c.SetResource(t.Context(), "a/b/c", make([]byte, 10)) },
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	for name, do := range operations {
		for kind, c := range map[string]struct {
			config func(*Config)
			client func(*admin.Client)
			want   string
		}{
			"valid_key":          {nil, func(*admin.Client) {}, ""},
			"invalid_key":        {nil, func(c *admin.Client) { c.Key = private }, "the token is not signed by an administrator's key"},
			"deny_admin_backend": {func(c *Config) { c.AdminKeys = nil }, func(*admin.Client) {}, "this broker has no administrator's key"},
			"restricted_simple_backend": {func(c *Config) {
				c.AdminKeys = nil
				c.Administrators = func() *roles.Rules {
					return &roles.Rules{Administrators: []roles.Administrator{{Name: "anna", Roles: []string{roles.Auditor}, Key: crypto.PublicKey(public)}}}
				}
			}, func(c *admin.Client) { c.Key, c.Role = private, roles.Auditor }, "role auditor may not POST this path"},
		} {
			t.Run(name+"_with_"+kind, func(t *testing.T) {
				b := newBench(t, c.config)
				c.client(b.admin)
				err := do(b.admin)
				if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("got %v, want %q", err, c.want)
				}
			})
		}
	}
}
