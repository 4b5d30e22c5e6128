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
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/ear"
	"holdfast/internal/attest/initdata"
	"holdfast/internal/input"
	"holdfast/internal/policy"
	"holdfast/internal/proof"
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

var errNoPolicy = errors.New("no such policy is set")

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
func (b *Broker) policy(kind string) (compiledPolicy, error) {
	source, isShipped := shipped[kind]
	raw, err := input.ReadFile(b.store.policyPath(kind), input.Document)
	if err == nil {
		source = string(raw)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return compiledPolicy{}, err
	} else if !isShipped {
		return compiledPolicy{}, errNoPolicy
	}
	b.policies.mu.Lock()
	defer b.policies.mu.Unlock()
	if c, ok := b.policies.compiled[kind]; ok && c.source == source {
		return c, c.err
	}
	compiled, err := policy.Compile(kind+".rego", source)
	if b.policies.compiled == nil {
		b.policies.compiled = map[string]compiledPolicy{}
	}
	b.policies.compiled[kind] = compiledPolicy{source, compiled, err}
	return b.policies.compiled[kind], err
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

// A question is what a policy was asked, and its answer.
type question struct {
	kind, policy string // source
	input        any
	data         map[string]any
	policy.Decision
}

// decide asks a policy. Whatever goes wrong on the way is a reason to refuse.
func (b *Broker) decide(ctx context.Context, kind string, input any, data map[string]any) question {
	q := question{kind: kind, input: input, data: data}
	p, err := b.policy(kind)
	if err != nil {
		b.log.Error("broker: policy", "kind", kind, "error", err)
		q.Decision = policy.Decision{Reasons: []string{err.Error()}}
		return q
	}
	q.policy = p.source
	if q.Decision, err = p.policy.Decide(ctx, input, data); err != nil {
		b.log.Error("broker: policy", "kind", kind, "error", err)
	}
	return q
}

// appraise asks the attestation policy about verified claims.
func (b *Broker) appraise(ctx context.Context, s session, claims attest.Claims, init *initdata.Document) (appraisal, error) {
	references, err := b.references()
	if err != nil {
		return appraisal{}, err
	}
	configurations, err := b.store.configurations()
	if err != nil {
		return appraisal{}, err
	}
	at := b.cfg.Now().UTC().Truncate(time.Second)
	data := map[string]any{"reference": references.values, "configurations": configurations}
	a := appraisal{
		question: b.decide(ctx, attestationPolicy, proof.AttestationInput(s.tee, claims, init, at), data),
		at:       at, references: references, claims: claims,
	}
	if a.Allow {
		return a, nil
	}
	err = &denial{a.Reasons}
	if init == nil {
		return a, attestRefusal("%w", err)
	}
	if _, known := configurations[init.Digest]; known {
		return a, attestRefusal("%w", err)
	}
	return a, attestRefusal("%w (to allow the configuration: %s)", err, allowDocument(init))
}

// An appraisal is the attestation policy's judgement of one machine.
type appraisal struct {
	question
	at         time.Time
	references references
	claims     attest.Claims
}

// references are the trusted images by their IDs: what each envelope says, and
// the envelope.
type references struct {
	values    map[string]*api.ReferenceValues
	envelopes map[string][]byte
}

// references reads the trusted images. An envelope that no longer passes, be it
// changed on disk or signed by a key that was replaced, trusts nothing.
func (b *Broker) references() (references, error) {
	all := references{map[string]*api.ReferenceValues{}, map[string][]byte{}}
	err := b.store.envelopes(func(id string, envelope []byte) {
		values, err := b.verifyReference(envelope)
		if err == nil && digestOf(envelope) != id {
			err = errors.New("its content has another digest than its name")
		}
		if err != nil {
			b.log.Warn("broker: reference values are ignored", "id", id, "error", err)
			return
		}
		all.values[id], all.envelopes[id] = values, envelope
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
func (b *Broker) permit(ctx context.Context, v *verified, r Resource, query url.Values) (question, error) {
	configurations, err := b.store.configurations()
	if err != nil {
		return question{}, err
	}
	q := b.decide(ctx, resourcePolicy, v.claims, proof.ResourceData(string(r), query, configurations))
	if q.Allow {
		return q, nil
	}
	err = &denial{q.Reasons}
	if c, ok := configurations[v.initData()]; ok {
		return q, forbid("%w (to allow it: %s)", err, allowCommand(c.Digest, append(c.Resources, string(r))))
	}
	return q, forbid("%w", err)
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
	cpu, _ := submods[ear.Primary].(map[string]any)
	evidence, _ := cpu[ear.Evidence].(map[string]any)
	digest, _ := evidence["init_data_digest"].(string)
	return digest
}
