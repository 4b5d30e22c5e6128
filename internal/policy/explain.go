package policy

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// An Explanation is a decision, and the lines of the policy that it came of.
type Explanation struct {
	Decision
	Engine string // as Languages has it
	Said   []Said // where each reason stands; none for those that are not the policy's words
	Steps  []Step // outermost first
}

// Said is a reason and the rule that gives it.
type Said struct {
	Reason string `json:"reason"`
	Line
}

// A Line is a place in a policy.
type Line struct {
	File string `json:"file"`
	Row  int    `json:"line"` // from 1
	Text string `json:"text"`
}

// A Step is a line that decided: a condition that did not hold, or the head of
// a rule that did.
type Step struct {
	Line
	Rule   string  `json:"rule"`
	Depth  int     `json:"depth"` // how many rules stand above this one
	Holds  bool    `json:"holds"`
	Values []Value `json:"values,omitempty"` // of what the line reads
}

// A Value is what a name in a line stood for. Nil JSON: there was no such thing.
type Value struct {
	Name  string  `json:"name"`
	Value *string `json:"value"` // as JSON
}

// Explain asks the policy and tells which lines decided.
func (p *Policy) Explain(ctx context.Context, input any, data *Data) (Explanation, error) {
	out := Explanation{Engine: p.Languages()}
	value, err := inputValue(input)
	if err != nil {
		return out, err
	}
	t := &tracer{p: p, input: value, data: data,
		frames: map[uint64]*frame{}, above: map[uint64]uint64{}, rules: map[string][]*frame{}, said: map[string]Line{}}
	said, err := p.evaluate(ctx, value, data, t)
	if err != nil {
		out.Decision, err = p.refusal(err)
		return out, err
	}
	if out.Decision, err = p.decision(said); err != nil {
		return out, err
	}
	for _, reason := range out.Reasons {
		if line, ok := t.said[reason]; ok {
			out.Said = append(out.Said, Said{reason, line})
		}
	}
	out.Steps = t.steps()
	return out, nil
}

// A frame is one evaluation of a rule.
type frame struct {
	query  uint64
	rule   *ast.Rule
	held   bool
	failed *ast.Expr // the condition that it came to and that did not hold
	values []Value
}

// A tracer notes how far each rule came.
type tracer struct {
	p      *Policy
	input  ast.Value
	data   *Data
	frames map[uint64]*frame   // by query
	above  map[uint64]uint64   // query to the one that it is part of
	rules  map[string][]*frame // by name
	said   map[string]Line     // reason to rule
}

// Enabled implements topdown.QueryTracer.
func (t *tracer) Enabled() bool { return true }

// Config implements topdown.QueryTracer.
func (t *tracer) Config() topdown.TraceConfig { return topdown.TraceConfig{PlugLocalVars: true} }

// TraceEvent implements topdown.QueryTracer.
func (t *tracer) TraceEvent(e topdown.Event) {
	switch e.Op {
	case topdown.EnterOp:
		t.above[e.QueryID] = e.ParentID
		if rule, ok := e.Node.(*ast.Rule); ok {
			f := &frame{query: e.QueryID, rule: rule}
			t.frames[e.QueryID] = f
			name := rule.Ref().GroundPrefix().String()
			t.rules[name] = append(t.rules[name], f)
		}
	case topdown.FailOp:
		expr, ok := e.Node.(*ast.Expr)
		f := t.frames[e.QueryID]
		if ok && f != nil && !f.held && (f.failed == nil || expr.Index >= f.failed.Index) {
			f.failed, f.values = expr, t.values(f.rule, expr, &e)
		}
	case topdown.ExitOp:
		if f := t.frames[e.QueryID]; f != nil {
			f.held, f.failed = true, nil
			t.noteSaid(f.rule, &e)
		}
	}
}

// noteSaid keeps which rule put a sentence into a set first: others pass it on.
func (t *tracer) noteSaid(rule *ast.Rule, e *topdown.Event) {
	if rule.Head.Key == nil || rule.Head.Value != nil {
		return
	}
	if s, ok := e.Plug(rule.Head.Key).Value.(ast.String); ok {
		if _, there := t.said[string(s)]; !there {
			t.said[string(s)] = t.line(rule.Location)
		}
	}
}

// steps walks from the rule that decides down to what decided it.
func (t *tracer) steps() []Step {
	root := "data.policy.allow"
	if !t.p.allows {
		root = "data.policy.trust_claims"
	}
	w := walk{tracer: t, seen: map[*frame]bool{}}
	w.rule(root, nil, 0)
	return w.out
}

type walk struct {
	*tracer
	seen map[*frame]bool
	out  []Step
}

// rule tells of the evaluations of a rule that a query began, or of any when
// it found the answer there already.
func (w *walk) rule(name string, under *frame, depth int) {
	frames := slices.DeleteFunc(slices.Clone(w.rules[name]), func(f *frame) bool { return under != nil && !w.within(f.query, under.query) })
	if len(frames) == 0 {
		frames = w.rules[name]
	}
	held := false
	for _, f := range frames {
		if f.held && !f.rule.Default {
			w.held(name, f, depth)
			held = true
		}
	}
	if held {
		return
	}
	if under != nil && under.held && under.failed == nil && w.p.allows {
		return // it is why no other rule stood against it
	}
	for _, f := range furthest(frames) {
		if w.seen[f] {
			continue
		}
		w.seen[f] = true
		w.out = append(w.out, Step{Line: w.line(f.failed.Location), Rule: short(name), Depth: depth, Values: f.values})
		w.below(sameLine(f.rule.Body, f.failed), f, depth+1)
	}
}

// held tells of a rule that held, unless it is no more than a name for a value.
func (w *walk) held(name string, f *frame, depth int) {
	constant := true
	ast.WalkRefs(f.rule, func(ref ast.Ref) bool {
		constant = constant && !ref.HasPrefix(ast.InputRootRef) && !ref.HasPrefix(ast.DefaultRootRef)
		return false
	})
	if w.seen[f] || constant {
		return
	}
	w.seen[f] = true
	w.out = append(w.out, Step{Line: w.line(f.rule.Location), Rule: short(name), Depth: depth, Holds: true, Values: w.read(f.rule)})
	w.below(f.rule.Body, f, depth+1)
}

func (t *tracer) within(query, part uint64) bool {
	for query != part && query != 0 {
		up, ok := t.above[query]
		if !ok || up == query {
			return false
		}
		query = up
	}
	return query == part
}

// below goes on to the rules that a body names.
func (w *walk) below(body ast.Body, under *frame, depth int) {
	ast.WalkRefs(body, func(ref ast.Ref) bool {
		prefix := ref.GroundPrefix().String()
		for _, name := range slices.Sorted(maps.Keys(w.rules)) {
			if prefix == name || strings.HasPrefix(prefix, name+".") || strings.HasPrefix(prefix, name+"[") {
				w.rule(name, under, depth)
			}
		}
		return false
	})
}

// furthest are the evaluations that failed at the latest of their conditions,
// once for each place.
func furthest(frames []*frame) []*frame {
	most := -1
	for _, f := range frames {
		if f.failed != nil {
			most = max(most, f.failed.Index)
		}
	}
	places := map[string]bool{}
	var out []*frame
	for _, f := range frames {
		if f.failed == nil || f.failed.Index != most || f.failed.Location == nil || places[f.failed.Location.String()] {
			continue
		}
		places[f.failed.Location.String()] = true
		out = append(out, f)
	}
	return out
}

// sameLine are the conditions that one line of a policy was made into.
func sameLine(body ast.Body, expr *ast.Expr) ast.Body {
	var same ast.Body
	for _, e := range body {
		if e.Location != nil && expr.Location != nil && e.Location.Row == expr.Location.Row {
			same = append(same, e)
		}
	}
	return same
}

func short(name string) string { return strings.TrimPrefix(name, "data.policy.") }

func (t *tracer) line(at *ast.Location) Line {
	if at == nil {
		return Line{}
	}
	line := Line{File: at.File, Row: at.Row}
	for _, m := range t.p.modules {
		if lines := strings.Split(m.Text, "\n"); m.Name == at.File && at.Row <= len(lines) && strings.TrimSpace(lines[at.Row-1]) != "" {
			line.Text = strings.TrimSpace(lines[at.Row-1])
		}
	}
	return line
}

// values are what the line of expr reads of input, data and its variables.
func (t *tracer) values(rule *ast.Rule, expr *ast.Expr, e *topdown.Event) []Value {
	found := map[string]*string{}
	ast.WalkRefs(sameLine(rule.Body, expr), func(ref ast.Ref) bool {
		t.lookUp(ref, e, found)
		return false
	})
	return sorted(found)
}

// read are the values of input and data that a rule names whole.
func (t *tracer) read(rule *ast.Rule) []Value {
	found := map[string]*string{}
	ast.WalkRefs(rule.Body, func(ref ast.Ref) bool {
		if ref.IsGround() && ref[0].Equal(ast.InputRootDocument) {
			t.lookUp(ref, nil, found)
		}
		return false
	})
	return sorted(found)
}

func sorted(found map[string]*string) []Value {
	var all []Value
	for _, name := range slices.Sorted(maps.Keys(found)) {
		all = append(all, Value{name, found[name]})
	}
	return all
}

// lookUp follows a reference through input, data or a variable as far as its
// variables are known.
func (t *tracer) lookUp(ref ast.Ref, e *topdown.Event, found map[string]*string) {
	v, name := t.root(ref, e)
	if v == nil {
		return
	}
	plain := ast.Ref{ast.NewTerm(name)}
	for _, term := range ref[1:] {
		if local, ok := term.Value.(ast.Var); ok {
			known := variable(local, e)
			if known == nil {
				break
			}
			term = ast.NewTerm(known)
		}
		plain = append(plain, term)
	}
	found[plain.String()] = nil
	if got, err := v.Find(plain[1:]); err == nil {
		found[plain.String()] = asJSON(got)
	}
}

// root is what a reference begins with, and its name in the policy.
func (t *tracer) root(ref ast.Ref, e *topdown.Event) (ast.Value, ast.Var) {
	head, ok := ref[0].Value.(ast.Var)
	switch {
	case !ok:
		return nil, ""
	case ref.HasPrefix(ast.InputRootRef):
		return t.input, head
	case ref.HasPrefix(ast.DefaultRootRef):
		if len(ref) < 2 || ref[1].Equal(ast.StringTerm("policy")) {
			return nil, ""
		}
		return t.data.object(), head
	case e == nil:
		return nil, ""
	}
	return variable(head, e), e.LocalMetadata[head].Name
}

// variable is the value of a variable when e happened.
func variable(name ast.Var, e *topdown.Event) ast.Value {
	if e == nil || e.Locals == nil || e.LocalMetadata[name].Name == "" {
		return nil
	}
	return e.Locals.Get(name)
}

// longest is how much of a value is shown.
const longest = 200

func asJSON(v ast.Value) *string {
	text := v.String()
	if len(text) > longest {
		text = text[:longest] + "…"
	}
	return &text
}
