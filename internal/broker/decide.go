package broker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/ear"
	"holdfast/internal/attest/initdata"
	"holdfast/internal/plainjson"
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

// Check says whether the policies in force can be asked at all. One that
// cannot refuses everything.
func (b *Broker) Check(ctx context.Context) error {
	rules, err := b.rules(ctx)
	if err != nil {
		return err
	}
	for kind, p := range rules.policies {
		if p.err != nil {
			return fmt.Errorf("policy %s, version %d: %w", kind, p.version, p.err)
		}
	}
	return nil
}

// A question is what a policy was asked, and its answer.
type question struct {
	kind  string
	by    compiledPolicy
	rules *rules
	input map[string]any
	about map[string]any // data beside that of the rules

	claims plainjson.Members // of the input, written
	data   *policy.Data
	policy.Decision
}

// decide asks a policy. Whatever goes wrong on the way is a reason to refuse.
func (b *Broker) decide(ctx context.Context, rules *rules, kind string, input, about map[string]any) question {
	q := question{kind: kind, by: rules.policies[kind], rules: rules, input: input, about: about, data: rules.data}
	err := q.by.err
	if err == nil { // another machine may have shown the same
		q.Decision, q.data, err = rules.memory.Ask(ctx, q.by.policy, input, about)
	}
	if err != nil {
		b.log.Error("broker: policy", "kind", kind, "error", err)
		if len(q.Reasons) == 0 {
			q.Decision = policy.Decision{Reasons: []string{err.Error()}}
		}
	}
	return q
}

// appraise asks the attestation policy about verified claims.
func (b *Broker) appraise(ctx context.Context, d *desk, s session, claims attest.Claims, init *initdata.Document) (appraisal, error) {
	rules, err := b.rules(ctx)
	if err != nil {
		return appraisal{}, err
	}
	at := b.cfg.Now().UTC().Truncate(time.Second)
	written, err := plainjson.Write(d.claims, claims)
	if err != nil {
		return appraisal{}, err
	}
	a := appraisal{
		question: b.decide(ctx, rules, attestationPolicy, proof.AttestationInput(s.tee, claims, init, at), nil),
		at:       at, references: rules.trusted, claims: claims,
	}
	if a.question.claims = written; a.Allow {
		return a, nil
	}
	b.keepDecision(ctx, a.question, "attest", s.reference(), s.tee)
	err = &denial{a.Reasons}
	if init == nil {
		return a, attestRefusal("%w", err)
	}
	if _, known := rules.configurations[init.Digest]; known {
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
	devices    []judgedDevice
}

// references are the trusted images by their IDs: what each envelope says, and
// the envelope.
type references struct {
	values    map[string]*api.ReferenceValues
	envelopes map[string][]byte
}

func (b *Broker) verifyReference(envelope []byte) (*api.ReferenceValues, error) {
	if b.cfg.VerifyReference == nil {
		return nil, errors.New("no key is configured to check reference values with")
	}
	return b.cfg.VerifyReference(envelope)
}

// permit asks the resource policy whether a token's machine may have it.
func (b *Broker) permit(ctx context.Context, v *verified, want wanted, query url.Values) (question, error) {
	rules, err := b.rules(ctx)
	if err != nil {
		return question{}, err
	}
	q := b.decide(ctx, rules, resourcePolicy, v.claims, proof.ResourceData(want.plugin, want.path, query))
	if q.Allow {
		return q, nil
	}
	b.keepDecision(ctx, q, "get-resource", v.session, "")
	err = &denial{q.Reasons}
	// What it has already, it is refused for another reason.
	if c, ok := rules.configurations[v.initData()]; ok && !slices.Contains(c.Resources, want.resource()) {
		return q, forbid("%w (to allow it: %s)", err, allowCommand(c.Digest, slices.Concat(c.Resources, []string{want.resource()})))
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
	digest, _ := v.evidence()["init_data_digest"].(string)
	return digest
}

// evidence is what the token says that the processor showed.
func (v *verified) evidence() map[string]any {
	submods, _ := v.claims["submods"].(map[string]any)
	cpu, _ := submods[ear.Primary].(map[string]any)
	evidence, _ := cpu[ear.Evidence].(map[string]any)
	return evidence
}
