package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// Trustee's default policy tells of the containers that the agent's policy
// allows, which is in a document of Trustee's own tests.
func TestTrusteesPolicyFindsTheAgentsContainersInInitData(t *testing.T) {
	var document struct {
		Data map[string]string `toml:"data"`
	}
	if _, err := toml.DecodeFile("../attest/initdata/testdata/trustee/init-data-with-policy.toml", &document); err != nil {
		t.Fatal(err)
	}
	input := map[string]any{"tee": "snp", "claims": map[string]any{}, "init_data": map[string]any{"digest": "sha256:00", "data": document.Data}}
	got, err := compile(t, trustee(t, "ear_default_policy_cpu.rego")).Decide(t.Context(), input, nil)
	if err != nil || len(got.Extensions) != 1 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if text := fmt.Sprint(got.Extensions[0].Value); !strings.Contains(text, "container_images") || !strings.Contains(text, "nginx") {
		t.Errorf("got %s, want the images of the agent's policy", text)
	}
}

func TestInitDataIsParsedForTrusteesPoliciesAndTextForOurs(t *testing.T) {
	data := map[string]string{"cdh.toml": "[image]\nroots = [\"a\"]\n", "aa.toml": "not TOML", "holdfast.json": "{}", "policy.rego": "package agent_policy\npolicy_data := 1"}
	input := map[string]any{"tee": "snp", "claims": map[string]any{}, "init_data": map[string]any{"digest": "sha256:00", "data": data}}
	for rule, want := range map[string]bool{
		`input.init_data_claims["cdh.toml"].image.roots[0] == "a"`: true,
		`input.init_data_claims["aa.toml"] == "not TOML"`:          true,
		`input.init_data_claims["holdfast.json"] == "{}"`:          true,
		`startswith(input.init_data_claims["policy.rego"], "p")`:   true, // no data to take its place
		`startswith(input.init_data.data["cdh.toml"], "[image]")`:  true,
		`is_string(input.init_data_claims["cdh.toml"])`:            false,
		`input.init_data_claims.agent_policy_claims`:               false,
	} {
		got, err := compile(t, "package policy\nimport rego.v1\ndefault allow := false\nallow if "+rule).Decide(t.Context(), input, nil)
		if err != nil || got.Allow != want {
			t.Errorf("%s: got %+v, %v, want %t", rule, got, err, want)
		}
	}
	// A number that JSON has no form for stays text, and refuses nobody.
	data["cdh.toml"] = "x = nan"
	got, err := compile(t, "package policy\nimport rego.v1\nallow if input.init_data_claims[\"cdh.toml\"] == \"x = nan\"").Decide(t.Context(), input, nil)
	if err != nil || !got.Allow {
		t.Errorf("got %+v, %v, want the text", got, err)
	}
}
