// Package policy decides by rules that an administrator may replace.
//
// A policy is Rego, package policy, in one module or several. It says allow
// and, when it does not, a set of reasons. It sees its input and its data and
// nothing else: no network, no file, no environment, and the time only where it
// verifies a chain of certificates. Whatever goes wrong, from a missing rule to
// an evaluation that takes too long, is a refusal.
package policy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/version"
)

// Engine is the Rego implementation that decides.
var Engine = "OPA " + version.Version

// DefaultTimeout bounds one evaluation. The shipped policies take a tenth of a
// millisecond.
const DefaultTimeout = 2 * time.Second

// A Policy is compiled, and safe for use by several goroutines.
type Policy struct {
	name     string
	modules  []Module
	parsed   map[string]*ast.Module
	compiler *ast.Compiler
	query    ast.Body
	allows   bool // it has a rule allow
	clock    bool // what it says may change with time
	timeout  time.Duration
}

// A Decision is what a policy said.
type Decision struct {
	Allow bool
	// Reasons explain a refusal, sorted; never empty when Allow is false.
	Reasons []string
	// Trust is the policy's trust_claims: AR4SI claims by name (-128 to 127),
	// as in Trustee's attestation policies. Nil when the policy has none.
	Trust map[string]int8
	// Extensions of the appraisal, as in Trustee's attestation policies.
	Extensions []Extension
}

// An Extension is a claim that a policy adds to the appraisal.
type Extension struct {
	Name  string `json:"name"`
	Key   int32  `json:"key"`
	Value any    `json:"value"`
}

// Named are the extensions by name, as they stand in a token; nil when there is
// none.
func (d Decision) Named() map[string]any {
	if len(d.Extensions) == 0 {
		return nil
	}
	all := map[string]any{}
	for _, e := range d.Extensions {
		all[e.Name] = e.Value
	}
	return all
}

// Decide is Ask with data that is converted first, as is the input: both are
// what they are as JSON.
func (p *Policy) Decide(ctx context.Context, input any, data map[string]any) (Decision, error) {
	d, err := NewData(data)
	if err != nil {
		return p.refusal(err)
	}
	return p.Ask(ctx, input, d)
}

// Ask evaluates the policy over input and data. An error means that the policy
// could not be evaluated; the decision beside it is then a refusal that says so.
func (p *Policy) Ask(ctx context.Context, input any, data *Data) (Decision, error) {
	said, err := p.evaluate(ctx, input, data, nil)
	if err != nil {
		return p.refusal(err)
	}
	d, err := p.decision(said)
	if err != nil {
		return p.refusal(fmt.Errorf("its result is not as documented: %w", err))
	}
	return d, nil
}

func (p *Policy) refusal(err error) (Decision, error) {
	err = fmt.Errorf("policy %s: %w", p.name, err)
	return Decision{Reasons: []string{err.Error()}}, err
}

// result is where result.rego gathers what a policy may say.
const result = "data.holdfast.said"

// evaluate gives the object of what the policy said. A trace may look on.
func (p *Policy) evaluate(ctx context.Context, input any, data *Data, trace topdown.QueryTracer) (ast.Object, error) {
	ctx, done := context.WithTimeout(ctx, p.timeout)
	defer done()
	value, err := inputValue(input)
	if err != nil {
		return nil, err
	}
	cancel := topdown.NewCancel()
	defer context.AfterFunc(ctx, cancel.Cancel)()
	q := topdown.NewQuery(p.query).WithCompiler(p.compiler).WithStore(data).WithTransaction(reading{}).
		WithInput(ast.NewTerm(value)).WithCancel(cancel).WithStrictBuiltinErrors(true).WithIndexing(trace == nil)
	if trace != nil {
		q = q.WithQueryTracer(trace)
	}
	var said ast.Object
	err = q.Iter(ctx, func(r topdown.QueryResult) error {
		said, _ = r[ast.Var("said")].Value.(ast.Object)
		return nil
	})
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err == nil && said == nil {
		said = ast.NewObject()
	}
	return said, err
}

// decision reads what was said. A policy without a rule allow allows what it
// affirms: Trustee's leave the rest to the resource policy.
func (p *Policy) decision(said ast.Object) (Decision, error) {
	out, err := readOutcome(said)
	if err != nil {
		return Decision{}, err
	}
	d := Decision{Allow: out.allow, Reasons: out.reasons, Trust: out.trust, Extensions: out.extensions}
	if !p.allows {
		d.Allow, d.Reasons = affirms(d.Trust)
	}
	if d.Allow {
		d.Reasons = nil
		return d, nil
	}
	if len(d.Reasons) == 0 {
		d.Reasons = []string{fmt.Sprintf("policy %s does not allow it", p.name)}
	}
	slices.Sort(d.Reasons)
	return d, nil
}
