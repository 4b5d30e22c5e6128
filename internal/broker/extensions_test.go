package broker

import (
	"testing"

	"holdfast/internal/policy"
	"holdfast/internal/proof"
)

func TestWhatAPolicyAddsIsInTheTokenAndInTheProof(t *testing.T) {
	ring, prove := proving(t)
	b := newBench(t, prove)
	check(t, b.admin.SetAttestationPolicy(t.Context(), []byte(policy.Attestation+"\nextensions := [{\"name\": \"site\", \"key\": -70001, \"value\": {\"row\": 7}}]\n")))
	m := released(t, b, ring)
	v, err := b.tokens.verify(m.token)
	check(t, err)
	cpu := v.claims["submods"].(map[string]any)["cpu0"].(map[string]any)
	if site, ok := cpu["site"].(map[string]any); !ok || site["row"] != 7.0 || cpu["ear.status"] != "affirming" {
		t.Errorf("the token has %v", cpu["site"])
	}
	raw, err := b.admin.Proof(t.Context(), b.proofs()[0].ID)
	check(t, err)
	p, err := proof.Peek(raw)
	check(t, err)
	if site, ok := p.Attestation.Policy.Extensions["site"].(map[string]any); !ok || site["row"] != 7.0 {
		t.Errorf("the proof has %v", p.Attestation.Policy.Extensions)
	}
}
