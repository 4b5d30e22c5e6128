package broker

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
)

// What was allowed is remembered. Whatever changes since must make it as good as
// never asked: each change comes after the very same machine was let in.
func TestNothingIsAllowedFromMemoryThatIsNotAllowedNow(t *testing.T) {
	const until = time.Minute
	for name, change := range map[string]func(b *bench, m *machine, keys map[string]string){
		"another policy": func(b *bench, _ *machine, _ map[string]string) {
			check(b.t, b.admin.SetAttestationPolicy(b.t.Context(), []byte("package policy\nimport rego.v1\ndefault allow := false")))
		},
		"image revoked": func(b *bench, _ *machine, _ map[string]string) {
			check(b.t, b.admin.SetStanding(b.t.Context(), api.ImageStanding{UKI: guestValues.UKI, Revoked: &api.ImageRevocation{Reason: "bad"}}))
		},
		"image distrusted": func(b *bench, _ *machine, _ map[string]string) {
			images, err := b.admin.Images(b.t.Context())
			check(b.t, err)
			check(b.t, b.admin.Distrust(b.t.Context(), images[0].ID))
		},
		"values expired":        func(b *bench, _ *machine, _ map[string]string) { b.now.set(b.now.Now().Add(until)) },
		"another configuration": func(_ *bench, m *machine, _ map[string]string) { m.initData += "\n" },
		"configuration withdrawn": func(b *bench, _ *machine, _ map[string]string) {
			check(b.t, b.admin.Withdraw(b.t.Context(), initDataDigest))
		},
		"another program":   func(_ *bench, m *machine, _ map[string]string) { m.pcrs["pcr04"] = pcr("5") },
		"an image's PCR 11": func(_ *bench, m *machine, _ map[string]string) { m.pcrs["pcr11"] = pcr("c") },
		"a claim is absent": func(_ *bench, m *machine, _ map[string]string) { delete(m.pcrs, "pcr13") },
		"key not listed":    func(_ *bench, _ *machine, keys map[string]string) { delete(keys, "MIIB") },
	} {
		t.Run(name, func(t *testing.T) {
			keys := map[string]string{"MIIB": "rack1-node7"}
			b := newBench(t, func(c *Config) {
				c.Verifiers = []attest.Verifier{listedTPM{}}
				listed, was := &AttestationKeys{}, 0
				c.AttestationKeys = func() *AttestationKeys {
					if len(keys) != was {
						listed, was = &AttestationKeys{map[string]string{}}, len(keys)
						for key, name := range keys {
							listed.Names[key] = name
						}
					}
					return listed
				}
			})
			values, at := guestValues, b.now.Now().Add(until)
			values.Expires = &at
			envelope, err := json.Marshal(values)
			check(t, err)
			check(t, b.admin.Trust(t.Context(), envelope))
			check(t, b.admin.Allow(t.Context(), initDataDigest, []string{"default/key/x"}))
			check(t, b.admin.SetAttestationPolicy(t.Context(), []byte(shipped[attestationPolicy]+
				"\n# module: rack.rego\npackage policy\nimport rego.v1\nreasons contains \"it stands in no rack\" if not data.attestation_keys[input.claims.ak_public]\n")))
			m := b.machine()
			for range 2 {
				m.auth()
				if status, body := m.call("POST", "/kbs/v0/attest", m.attestation()); status != http.StatusOK {
					t.Fatalf("before: %d %s", status, body)
				}
			}
			change(b, m, keys)
			m.auth()
			status, body := m.call("POST", "/kbs/v0/attest", m.attestation())
			if status != http.StatusUnauthorized {
				t.Errorf("got %d %s, want a refusal", status, body)
			}
		})
	}
}
