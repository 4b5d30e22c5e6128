package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"

	"holdfast/internal/api"
	"holdfast/internal/input"
	"holdfast/internal/policy"
)

// A denial is a policy's refusal and its reasons.
type denial struct{ reasons []string }

func (d *denial) Error() string { return strings.Join(d.reasons, "; ") }

const (
	attestationPolicy = "attestation"
	resourcePolicy    = "resource"
)

// shipped holds the policies that apply until others are set.
var shipped = map[string]string{attestationPolicy: policy.Attestation, resourcePolicy: policy.Resource}

// policies keeps what was compiled last, by kind.
type policies struct {
	mu       sync.Mutex
	compiled map[string]compiledPolicy // guarded by mu
}

type compiledPolicy struct {
	source string
	policy *policy.Policy
	err    error
}

// policy returns the policy that is in force: the file may have been replaced
// by another process since the last request.
func (b *Broker) policy(kind string) (*policy.Policy, error) {
	source := shipped[kind]
	raw, err := input.ReadFile(b.store.policyPath(kind), input.Document)
	if err == nil {
		source = string(raw)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	b.policies.mu.Lock()
	defer b.policies.mu.Unlock()
	if c, ok := b.policies.compiled[kind]; ok && c.source == source {
		return c.policy, c.err
	}
	compiled, err := policy.Compile(kind+".rego", source)
	if b.policies.compiled == nil {
		b.policies.compiled = map[string]compiledPolicy{}
	}
	b.policies.compiled[kind] = compiledPolicy{source, compiled, err}
	return compiled, err
}

func (s *store) policyPath(kind string) string { return filepath.Join(s.dir, "policies", kind+".rego") }

func (s *store) setPolicy(ctx context.Context, kind, source string) error {
	return s.put(ctx, s.policyPath(kind), []byte(source))
}

// Check says whether the policies in force can be asked at all. One that
// cannot refuses everything.
func (b *Broker) Check() error {
	for kind := range shipped {
		if _, err := b.policy(kind); err != nil {
			return fmt.Errorf("policy %s: %w", b.store.policyPath(kind), bare(err))
		}
	}
	return nil
}

// decide asks a policy. Whatever goes wrong on the way is a reason to refuse.
func (b *Broker) decide(ctx context.Context, kind string, input any, data map[string]any) policy.Decision {
	p, err := b.policy(kind)
	if err != nil {
		b.log.Error("broker: policy", "kind", kind, "error", err)
		return policy.Decision{Reasons: []string{err.Error()}}
	}
	d, err := p.Decide(ctx, input, data)
	if err != nil {
		b.log.Error("broker: policy", "kind", kind, "error", err)
	}
	return d
}

// appraise asks the attestation policy about verified claims.
func (b *Broker) appraise(ctx context.Context, tee string, claims map[string]any, init *initData) (map[string]int8, error) {
	references, err := b.references()
	if err != nil {
		return nil, err
	}
	configurations, err := b.store.configurations()
	if err != nil {
		return nil, err
	}
	input := map[string]any{"tee": tee, "claims": claims, "time": b.cfg.Now().Unix()}
	if init != nil {
		input["init_data"] = map[string]any{"digest": init.digest, "data": init.data}
	}
	data := map[string]any{"reference": references, "configurations": configurations}
	d := b.decide(ctx, attestationPolicy, input, data)
	if d.Allow {
		return d.Trust, nil
	}
	err = &denial{d.Reasons}
	if init == nil {
		return nil, attestRefusal("%w", err)
	}
	if _, known := configurations[init.digest]; known {
		return nil, attestRefusal("%w", err)
	}
	return nil, attestRefusal("%w (to allow the configuration: %s)", err, init.allowCommand())
}

// references reads the trusted images. An envelope that no longer passes, be it
// changed on disk or signed by a key that was replaced, trusts nothing.
func (b *Broker) references() (map[string]*api.ReferenceValues, error) {
	all := map[string]*api.ReferenceValues{}
	err := b.store.envelopes(func(id string, envelope []byte) {
		values, err := b.verifyReference(envelope)
		if err == nil && digestOf(envelope) != id {
			err = errors.New("its content has another digest than its name")
		}
		if err != nil {
			b.log.Warn("broker: reference values are ignored", "id", id, "error", err)
			return
		}
		all[id] = values
	})
	return all, err
}

func (b *Broker) verifyReference(envelope []byte) (*api.ReferenceValues, error) {
	if b.cfg.VerifyReference == nil {
		return nil, errors.New("no key is configured to check reference values with")
	}
	return b.cfg.VerifyReference(envelope)
}

// permit asks the resource policy whether a token's machine may have r.
func (b *Broker) permit(ctx context.Context, v *verified, r Resource, query url.Values) error {
	configurations, err := b.store.configurations()
	if err != nil {
		return err
	}
	plain := map[string]string{}
	for name := range query {
		plain[name] = query.Get(name)
	}
	data := map[string]any{
		"plugin": "resource", "resource-path": strings.Split(string(r), "/"), "query": plain,
		"configurations": configurations,
	}
	d := b.decide(ctx, resourcePolicy, v.claims, data)
	if d.Allow {
		return nil
	}
	err = &denial{d.Reasons}
	if c, ok := configurations[v.initData()]; ok {
		return forbid("%w (to allow it: %s)", err, allowCommand(c.Digest, append(c.Resources, string(r))))
	}
	return forbid("%w", err)
}

// forbid answers 403, as the protocol's description has it for a resource that
// policy denies (kbs/docs/kbs_attestation_protocol.md); Trustee's code answers
// 401, upon which its own client only attests again, to be denied again.
func forbid(format string, args ...any) *problem {
	return refuse(http.StatusForbidden, kindDenied, "Access denied by policy: %w", fmt.Errorf(format, args...))
}

// initData returns the digest of the configuration that the token is about.
func (v *verified) initData() string {
	submods, _ := v.claims["submods"].(map[string]any)
	cpu, _ := submods["cpu0"].(map[string]any)
	evidence, _ := cpu[earClaims].(map[string]any)
	digest, _ := evidence["init_data_digest"].(string)
	return digest
}
