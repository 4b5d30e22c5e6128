// Package claims gives policies what Trustee's verifiers conclude beside the
// evidence itself, so that a policy written for it finds here what it expects.
package claims

import (
	"encoding/json"
	"strings"

	"github.com/BurntSushi/toml"
)

// The files of an init-data document that become more than text.
const (
	agentPolicy = "policy.rego"
	policyData  = "policy_data := "
)

var tables = []string{"cdh.toml", "aa.toml"}

// Plain says whether all that OfInitData would do is to repeat the text.
func Plain(has func(name string) bool) bool {
	return !has(agentPolicy) && !has(tables[0]) && !has(tables[1])
}

// OfInitData are the claims of an init-data document's data: Trustee turns two
// files of TOML into objects, and of the agent's policy keeps the data that
// follows its rules (attestation-service/src/lib.rs, parse_init_data). What is
// not in that form stays text.
func OfInitData(data map[string]string) map[string]any {
	all := map[string]any{}
	for name, text := range data {
		all[name] = text
	}
	for _, name := range tables {
		if text, has := data[name]; has {
			if object := parse(text); object != nil {
				all[name] = object
			}
		}
	}
	at := strings.Index(data[agentPolicy], policyData+"{")
	var object map[string]any
	if at >= 0 && json.Unmarshal([]byte(data[agentPolicy][at+len(policyData):]), &object) == nil {
		delete(all, agentPolicy)
		all["agent_policy_claims"] = object
	}
	return all
}

// parse returns a table as JSON has it; nil when it is none, or holds a number
// that JSON has no form for.
func parse(text string) map[string]any {
	table := map[string]any{}
	if _, err := toml.Decode(text, &table); err != nil {
		return nil
	}
	raw, err := json.Marshal(table)
	if err != nil {
		return nil
	}
	var object map[string]any
	if json.Unmarshal(raw, &object) != nil {
		return nil
	}
	return object
}
