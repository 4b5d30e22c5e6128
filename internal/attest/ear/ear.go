// Package ear makes the claims of an attestation result.
//
// A result is an EAR (draft-ietf-rats-ear) as Trustee writes it, so that a
// token of ours is read where one of Trustee's is. The claims follow from their
// arguments alone: whoever has these can tell whether a token says the same.
package ear

import (
	"maps"
	"slices"
	"strconv"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/initdata"
	"holdfast/internal/plainjson"
)

// What Trustee writes into its tokens (attestation-service/src/ear_token).
const (
	profile = "tag:github.com,2024:confidential-containers/Trustee"
	// Status and Evidence are claims of a submodule; Primary is the machine's.
	Status   = "ear.status"
	Evidence = "ear.veraison.annotated-evidence"
	Primary  = "cpu0"
)

// A Result is what a token says of one machine.
type Result struct {
	Issuer      string
	From, Until int64  // seconds since 1970
	Session     string // reference of the session, the token's jti
	TEE         string
	Trust       map[string]int8 // AR4SI claims by name
	Extensions  map[string]any  // what policy adds to the appraisal, by name
	Claims      attest.Claims
	Written     plainjson.Members  // Claims, where somebody wrote them already
	InitData    *initdata.Document // nil when none was sent
	Runtime     api.RuntimeData
	Additional  string   // evidence of additional devices
	Devices     []Device // the additional ones, in the order that they are numbered
}

// A Device is one beside the machine's own processor.
type Device struct {
	TEE, Class string
	Trust      map[string]int8
	Extensions map[string]any
	Claims     attest.Claims
}

// Claims are the token's payload.
func Claims(r Result) map[string]any {
	return map[string]any{
		"eat_profile":     profile,
		"iat":             r.From,
		"exp":             r.Until,
		"iss":             r.Issuer,
		"jti":             r.Session,
		"ear.verifier-id": map[string]string{"developer": "https://confidentialcontainers.org", "build": "holdfast"},
		"submods":         submods(r),
	}
}

// submods names each device by its class and a number, the machine itself cpu0
// (EarAttestationTokenBroker::issue).
func submods(r Result) map[string]any {
	out := map[string]any{Primary: submod(r.Trust, r.Extensions, annotated(r))}
	next := map[string]int{"cpu": 1}
	for _, d := range r.Devices {
		one := r
		one.TEE, one.Claims, one.Written, one.InitData = d.TEE, d.Claims, nil, nil
		evidence := annotated(one)
		delete(evidence["runtime_data_claims"].(map[string]any), "additional-evidence")
		out[d.Class+strconv.Itoa(next[d.Class])] = submod(d.Trust, d.Extensions, evidence)
		next[d.Class]++
	}
	return out
}

// submod is an appraisal. Its own claims are what they are, whatever extensions
// say.
func submod(trust map[string]int8, extensions, evidence map[string]any) map[string]any {
	out := map[string]any{}
	maps.Copy(out, extensions)
	maps.Copy(out, map[string]any{
		Status:                       status(trust),
		"ear.trustworthiness-vector": vector(trust),
		"ear.appraisal-policy-id":    "default",
		Evidence:                     evidence,
	})
	return out
}

// beside are the claims that stand beside those of the device.
var beside = []string{"init_data", "report_data"}

// annotated has the shape of Trustee's transform_claims: init and report data
// beside the claims of the device, which stand under its name.
func annotated(r Result) map[string]any {
	out := map[string]any{}
	for _, name := range beside {
		if value, ok := r.Claims[name]; ok {
			out[name] = value
		}
	}
	if r.Written != nil {
		out[r.TEE] = r.Written.Without(beside...)
	} else {
		device := map[string]any{}
		maps.Copy(device, r.Claims)
		maps.DeleteFunc(device, func(name string, _ any) bool { return slices.Contains(beside, name) })
		out[r.TEE] = device
	}
	out["runtime_data_claims"] = map[string]any{
		"tee-pubkey": r.Runtime.TEEPubKey, "nonce": r.Runtime.Nonce, "additional-evidence": r.Additional,
	}
	if r.InitData != nil {
		out["init_data_claims"] = r.InitData.Claims()
		out["init_data_digest"] = r.InitData.Digest
	}
	return out
}

var vectorClaims = []string{"instance-identity", "configuration", "executables", "file-system",
	"hardware", "runtime-opaque", "storage-opaque", "sourced-data"}

func vector(trust map[string]int8) map[string]int8 {
	out := map[string]int8{}
	for _, name := range vectorClaims {
		out[name] = trust[name]
	}
	return out
}

// status is the worst tier of the vector, draft-ietf-rats-ar4si section 2.3.2.
func status(trust map[string]int8) string {
	tiers := []string{"none", "affirming", "warning", "contraindicated"}
	worst := 0
	for _, name := range vectorClaims {
		worst = max(worst, tier(trust[name]))
	}
	return tiers[worst]
}

func tier(claim int8) int {
	switch {
	case claim >= -1 && claim <= 1:
		return 0
	case claim >= -32 && claim <= 31:
		return 1
	case claim >= -96 && claim <= 95:
		return 2
	}
	return 3
}
