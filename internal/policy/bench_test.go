package policy

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// many is a broker's data with n trusted images and n configurations.
func many(n int) map[string]any {
	data := trusted(boot(true, pcr("4"), pcr("7")))
	for i := range n {
		hex := fmt.Sprintf("%064x", i+1)
		data["reference"].(map[string]any)["sha256:"+hex] = map[string]any{"image": "guest", "pcrs": map[string]string{"11": hex},
			"firmware": []any{boot(true, hex, pcr("7")), boot(false, hex, pcr("8"))}}
		data["images"].(map[string]any)[hex] = map[string]any{"status": "trusted", "image": "guest", "references": []string{"sha256:" + hex}}
		data["configurations"].(map[string]any)["sha256:"+hex] = map[string]any{"resources": []string{"default/key/" + hex}}
	}
	return data
}

// recorded is a token's claims as a real machine earned them.
func recorded(b *testing.B) (claims, input map[string]any) {
	b.Helper()
	raw, err := os.ReadFile("../proof/testdata/boot/proof.json")
	if err != nil {
		b.Fatal(err)
	}
	var envelope struct{ Payload []byte }
	var statement struct {
		Predicate struct {
			Release, Attestation struct {
				Policy struct{ Input map[string]any }
			}
		}
	}
	if err := json.Unmarshal(raw, &envelope); err != nil {
		b.Fatal(err)
	}
	if err := json.Unmarshal(envelope.Payload, &statement); err != nil {
		b.Fatal(err)
	}
	return statement.Predicate.Release.Policy.Input, statement.Predicate.Attestation.Policy.Input
}

func BenchmarkDecisions(b *testing.B) {
	attestation, resource := compile(b, Attestation), compile(b, Resource)
	token, machine := recorded(b)
	pcrs := machine["claims"].(map[string]any)
	digest := machine["init_data"].(map[string]any)["digest"].(string)
	for _, n := range []int{0, 1000} {
		values := many(n)
		values["reference"].(map[string]any)["sha256:r"] = map[string]any{"image": "guest", "pcrs": map[string]any{"11": pcrs["pcr11"]},
			"firmware": []any{boot(true, pcrs["pcr04"].(string), pcrs["pcr07"].(string))}}
		values["images"].(map[string]any)[pcrs["pcr11"].(string)] = map[string]any{"status": "trusted", "references": []string{"sha256:r"}}
		values["configurations"].(map[string]any)[digest] = map[string]any{"resources": []string{"default/key/x"}}
		data, err := NewData(values)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("attestation/%d images", n+2), func(b *testing.B) { ask(b, attestation, machine, data, nil) })
		b.Run(fmt.Sprintf("resource/%d images", n+2), func(b *testing.B) {
			ask(b, resource, token, data, map[string]any{"plugin": "resource", "resource-path": strings.Split("default/key/x", "/"), "query": map[string]string{}})
		})
	}
}

func ask(b *testing.B, p *Policy, input any, data *Data, with map[string]any) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		d, err := data.With(with)
		if err != nil {
			b.Fatal(err)
		}
		if got, err := p.Ask(b.Context(), input, d); err != nil || !got.Allow {
			b.Fatal(got, err)
		}
	}
}
