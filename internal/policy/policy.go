// Package policy decides by rules that an administrator may replace.
//
// A policy is one Rego module, package policy, that says allow and, when it
// does not, a set of reasons. It sees its input and its data and nothing else:
// no network, no clock, no environment. Whatever goes wrong, from a missing
// rule to an evaluation that takes too long, is a refusal.
package policy

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// The policies that hold until an administrator sets others. Each file
// documents the input and data that a policy of its kind is given.
var (
	//go:embed attestation.rego
	Attestation string
	//go:embed resource.rego
	Resource string
)

// DefaultTimeout bounds one evaluation. The shipped policies take about a
// millisecond.
const DefaultTimeout = 2 * time.Second

// A Policy is a compiled module, safe for use by several goroutines.
type Policy struct {
	name     string
	compiler *ast.Compiler
	timeout  time.Duration
}

// A CompileError is a module that is no policy, and where it goes wrong.
type CompileError struct {
	Name string
	Line int // from 1; 0 when the whole module is at fault
	Text string
}

func (e *CompileError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("policy %s: %s", e.Name, e.Text)
	}
	return fmt.Sprintf("policy %s: line %d: %s", e.Name, e.Line, e.Text)
}

// Compile reads a module in Rego v1. Its error is a *CompileError.
func Compile(name, source string) (*Policy, error) {
	module, err := ast.ParseModuleWithOpts(name, source, ast.ParserOptions{
		RegoVersion:  ast.RegoV1,
		Capabilities: capabilities(),
	})
	if err != nil {
		return nil, compileError(name, err)
	}
	if got := module.Package.Path.String(); got != "data.policy" {
		return nil, &CompileError{Name: name, Line: module.Package.Location.Row, Text: "the package must be policy"}
	}
	c := ast.NewCompiler().WithCapabilities(capabilities())
	if c.Compile(map[string]*ast.Module{name: module}); c.Failed() {
		return nil, compileError(name, c.Errors)
	}
	if len(c.GetRulesExact(ast.MustParseRef("data.policy.allow"))) == 0 {
		return nil, &CompileError{Name: name, Text: "it has no rule allow"}
	}
	return &Policy{name: name, compiler: c, timeout: DefaultTimeout}, nil
}

// compileError keeps the first complaint: the others often follow from it.
func compileError(name string, err error) error {
	var all ast.Errors
	if !errors.As(err, &all) || len(all) == 0 {
		return &CompileError{Name: name, Text: err.Error()}
	}
	e := &CompileError{Name: name, Text: all[0].Message}
	if all[0].Location != nil {
		e.Line = all[0].Location.Row
	}
	return e
}

// capabilities leaves out every builtin whose answer does not follow from its
// arguments: http.send, opa.runtime, net.lookup_ip_addr, the clock and chance.
func capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return b.Nondeterministic || b.Name == ast.OPARuntime.Name || b.Name == ast.HTTPSend.Name
	})
	c.AllowNet = []string{}
	return c
}

// A Decision is what a policy said.
type Decision struct {
	Allow bool
	// Reasons explain a refusal, sorted; never empty when Allow is false.
	Reasons []string
	// Trust is the policy's trust_claims: AR4SI claims by name (-128 to 127),
	// as in Trustee's attestation policies. Nil when the policy has none.
	Trust map[string]int8
}

// outcome is the document data.policy, as far as it is read.
type outcome struct {
	Allow   bool            `json:"allow"`
	Reasons []string        `json:"reasons"`
	Trust   map[string]int8 `json:"trust_claims"`
}

// Decide evaluates the policy over input and data, both of which are encoded
// as JSON first. An error means that the policy could not be evaluated; the
// decision beside it is then a refusal that says so.
func (p *Policy) Decide(ctx context.Context, input any, data map[string]any) (Decision, error) {
	out, err := p.evaluate(ctx, input, data)
	if err != nil {
		err = fmt.Errorf("policy %s: %w", p.name, err)
		return Decision{Reasons: []string{err.Error()}}, err
	}
	d := Decision(out)
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

func (p *Policy) evaluate(ctx context.Context, input any, data map[string]any) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	plain, err := plainData(data)
	if err != nil {
		return outcome{}, err
	}
	results, err := rego.New(
		rego.Compiler(p.compiler),
		rego.Store(inmem.NewFromObject(plain)),
		rego.Query("data.policy"),
		rego.Input(input),
		rego.StrictBuiltinErrors(true),
	).Eval(ctx)
	if err != nil {
		return outcome{}, err
	}
	if len(results) != 1 || len(results[0].Expressions) != 1 {
		return outcome{}, errors.New("it has no result")
	}
	raw, err := json.Marshal(results[0].Expressions[0].Value)
	if err != nil {
		return outcome{}, err
	}
	var out outcome
	if err := json.Unmarshal(raw, &out); err != nil {
		return outcome{}, fmt.Errorf("its result is not as documented: %w", err)
	}
	return out, nil
}

// plainData turns structs into the maps that the store wants.
func plainData(data map[string]any) (map[string]any, error) {
	if data == nil {
		return map[string]any{}, nil
	}
	raw, err := json.Marshal(data)
	if err != nil {
		return nil, err
	}
	plain := map[string]any{}
	return plain, json.Unmarshal(raw, &plain)
}
