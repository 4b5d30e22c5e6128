package proof

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"holdfast/internal/api"
	"holdfast/internal/policy"
)

// A PolicyError is a proof whose policy nobody vouches for: neither this
// program, which ships others, nor the reader.
type PolicyError struct{ Digest string }

func (e *PolicyError) Error() string {
	return "policy " + e.Digest + " is neither the one of its kind that this program ships nor one that the reader named"
}

// attestationPolicy has the policy decide again, on what follows from the
// evidence.
func (c *checker) attestationPolicy(ctx context.Context) {
	a := c.proof.Attestation
	input := AttestationInput(a.TEE, c.review.Claims, c.config, a.Time)
	good := goodPolicies(policy.Attestation, "attestation", c.AttestationPolicies)
	text, err := c.redecide(ctx, good, a.Policy, input, c.given(a.Policy))
	c.report.check(checkAttestation, text, err)
}

// resourcePolicy has the other decide again, on the token.
func (c *checker) resourcePolicy(ctx context.Context, payload map[string]any) {
	data := ResourceData(cmp.Or(c.proof.Release.Plugin, "resource"), c.proof.Release.Resource, nil)
	delete(data, "query") // the broker's word
	good := goodPolicies(policy.Resource, "resource", c.ResourcePolicies)
	text, err := c.redecide(ctx, good, c.proof.Release.Policy, payload, data)
	c.report.check(checkResource, text, err)
}

// A goodPolicy is one that somebody vouches for.
type goodPolicy struct{ source, whose string }

func goodPolicies(shipped, kind string, named []string) []goodPolicy {
	all := []goodPolicy{{shipped, "the policy that this program ships"}}
	for _, source := range policy.Earlier(kind) {
		all = append(all, goodPolicy{source, "the policy that an earlier version of this program shipped"})
	}
	return append(all, namedPolicies(named)...)
}

func namedPolicies(named []string) (all []goodPolicy) {
	for _, source := range named {
		all = append(all, goodPolicy{source, "the policy that the reader named"})
	}
	return all
}

// redecide compares what a policy was given with what it should have been, and
// what it said with what it says now. Good are the policies of its kind: one
// that is good for the other kind says nothing here.
func (c *checker) redecide(ctx context.Context, good []goodPolicy, d api.ProofDecision, input any, data map[string]any) (string, error) {
	given, err := object(d.Input)
	if err != nil {
		return "", fmt.Errorf("its input: %w", err)
	}
	if where := difference(plain(input), given, "input"); where != "" {
		return "", fmt.Errorf("%s is not what the evidence leads to", where)
	}
	had, err := object(d.Data)
	if err != nil {
		return "", fmt.Errorf("its data: %w", err)
	}
	for name, want := range data {
		if where := difference(plain(want), had[name], "data."+name); where != "" {
			return "", fmt.Errorf("%s is not what the proof shows", where)
		}
	}
	return same(ctx, good, d, given, had)
}

func same(ctx context.Context, good []goodPolicy, d api.ProofDecision, input, data map[string]any) (string, error) {
	i := slices.IndexFunc(good, func(g goodPolicy) bool { return g.source == d.Policy })
	if i < 0 {
		return "", &PolicyError{"sha256:" + sha256Hex([]byte(d.Policy))}
	}
	p, err := policy.Compile("policy.rego", d.Policy)
	if err != nil {
		return "", err
	}
	again, err := p.Decide(ctx, input, data)
	switch {
	case err != nil:
		return "", err
	case !again.Allow:
		return "", fmt.Errorf("asked again, it refuses: %s", (again.Reasons[0]))
	case !d.Allow:
		return "", errors.New("the proof says that it refused, and asked again it allows")
	case !reflect.DeepEqual(plain(again.Trust), plain(d.Trust)):
		return "", fmt.Errorf("asked again, it says %v of the machine's trustworthiness, and the proof %v", again.Trust, d.Trust)
	case !reflect.DeepEqual(plain(again.Named()), plain(d.Extensions)):
		return "", fmt.Errorf("asked again, it adds %v to the token, and the proof says %v", again.Named(), d.Extensions)
	}
	return "asked again, " + good[i].whose + " allows it", nil
}

func object(raw json.RawMessage) (map[string]any, error) {
	var v map[string]any
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, err
	}
	if v == nil {
		return nil, errors.New("it is no object")
	}
	return v, nil
}

// plain is v as JSON has it, nil when it has no such form.
func plain(v any) any {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	var out any
	dec := json.NewDecoder(bytes.NewReader(raw))
	_ = dec.Decode(&out) // it was encoded just now
	return out
}

// difference names the first place where two JSON values part, or nothing.
func difference(want, got any, path string) string {
	wanted, ok := want.(map[string]any)
	had, also := got.(map[string]any)
	if !ok || !also {
		if reflect.DeepEqual(want, got) {
			return ""
		}
		return path
	}
	for _, name := range keysOf(wanted, had) {
		w, inWanted := wanted[name]
		g, inGot := had[name]
		if inWanted != inGot {
			return path + "." + name
		}
		if where := difference(w, g, path+"."+name); where != "" {
			return where
		}
	}
	return ""
}

func keysOf(a, b map[string]any) []string {
	var list []string
	for name := range a {
		list = append(list, name)
	}
	for name := range b {
		list = append(list, name)
	}
	slices.Sort(list)
	return slices.Compact(list)
}
