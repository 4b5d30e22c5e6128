package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// A Module is a file of a policy.
type Module struct {
	Name, Text string
}

// A CompileError is a module that is no policy, and where it goes wrong.
type CompileError struct {
	Name   string
	Line   int // from 1; 0 when the whole module is at fault
	Column int // from 1, in bytes
	Text   string
}

func (e *CompileError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("policy %s: %s", e.Name, e.Text)
	}
	return fmt.Sprintf("policy %s: line %d, column %d: %s", e.Name, e.Line, e.Column, e.Text)
}

// Compile reads a policy: Rego v1, and v0 where a module says so. Its error is
// a *CompileError.
func Compile(name, source string) (*Policy, error) {
	return CompileModules(name, split(name, source))
}

// CompileModules compiles a policy that lies in several files.
func CompileModules(name string, modules []Module) (*Policy, error) {
	p := &Policy{name: name, modules: modules, parsed: map[string]*ast.Module{}, timeout: DefaultTimeout}
	for i, m := range modules {
		parsed, err := parse(m)
		if err != nil {
			return nil, err
		}
		p.parsed[fmt.Sprintf("%03d %s", i, m.Name)] = parsed
	}
	p.compiler = ast.NewCompiler().WithCapabilities(capabilities())
	if p.compiler.Compile(withOurs(p.parsed)); p.compiler.Failed() {
		return nil, compileError(name, p.compiler.Errors)
	}
	p.clock = p.usesClock()
	p.allows = p.has("allow")
	if !p.allows && !p.has("trust_claims") {
		return nil, &CompileError{Name: name, Text: "it has no rule allow, and no trust_claims"}
	}
	var err error
	p.query, err = p.compiler.QueryCompiler().Compile(ast.MustParseBody(result + " = said"))
	return p, err
}

func (p *Policy) has(rule string) bool {
	return len(p.compiler.GetRulesExact(ast.MustParseRef("data.policy."+rule))) > 0
}

// verifiesNow begins the names of the builtins that check a chain of
// certificates as of now: OPA does not call them Nondeterministic.
const verifiesNow = "crypto.x509.parse_and_verify_certificates"

func (p *Policy) usesClock() (found bool) {
	for _, m := range p.compiler.Modules {
		ast.WalkRefs(m, func(r ast.Ref) bool {
			found = found || strings.HasPrefix(r.String(), verifiesNow)
			return found
		})
	}
	return found
}

func parse(m Module) (*ast.Module, error) {
	if strings.TrimSpace(m.Text) == "" {
		return nil, &CompileError{Name: m.Name, Text: "it is empty"}
	}
	parsed, err := ast.ParseModuleWithOpts(m.Name, m.Text, ast.ParserOptions{
		RegoVersion: Language(m.Text), Capabilities: capabilities(), ProcessAnnotation: true,
	})
	if err != nil {
		return nil, compileError(m.Name, err)
	}
	if parsed == nil {
		return nil, &CompileError{Name: m.Name, Text: "it is empty"}
	}
	if got := parsed.Package.Path.String(); got != "data.policy" {
		at := parsed.Package.Location
		return nil, &CompileError{Name: m.Name, Line: at.Row, Column: at.Col, Text: "the package must be policy"}
	}
	return parsed, nil
}

// compileError keeps the first complaint: the others often follow from it.
func compileError(name string, err error) error {
	var all ast.Errors
	if !errors.As(err, &all) || len(all) == 0 {
		return &CompileError{Name: name, Text: err.Error()}
	}
	e := &CompileError{Name: name, Text: all[0].Message}
	if at := all[0].Location; at != nil {
		e.Line, e.Column = at.Row, at.Col
		if at.File != "" {
			e.Name = at.File
		}
	}
	return e
}

// capabilities leaves out every builtin whose answer does not follow from its
// arguments: http.send, opa.runtime, net.lookup_ip_addr, the clock and chance,
// and the two of JSON schemas, whose $ref opens files. Those that verifiesNow
// names stay, and say so of their policy.
func capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return b.Nondeterministic || slices.Contains([]string{ast.OPARuntime.Name, ast.HTTPSend.Name,
			ast.JSONSchemaVerify.Name, ast.JSONMatchSchema.Name}, b.Name)
	})
	c.AllowNet = []string{}
	return c
}

// separator begins a module where one text holds several.
const separator = "# module: "

// Join makes one text of modules; a single one stays as it is.
func Join(modules []Module) string {
	if len(modules) == 1 {
		return modules[0].Text
	}
	var all strings.Builder
	for _, m := range modules {
		all.WriteString(separator + m.Name + "\n" + strings.TrimSuffix(m.Text, "\n") + "\n")
	}
	return all.String()
}

// split takes a text of several modules apart. Blank lines before each keep
// the numbers of its lines those of the text.
func split(name, source string) []Module {
	var all []Module
	var at int // line at which the module in hand begins
	lines := strings.SplitAfter(source, "\n")
	for i, line := range lines {
		if i > 0 && strings.HasPrefix(line, separator) && hasPackage(lines[at:i]) {
			all = append(all, Module{name, strings.Repeat("\n", at) + strings.Join(lines[at:i], "")})
			at = i
		}
	}
	return append(all, Module{name, strings.Repeat("\n", at) + strings.Join(lines[at:], "")})
}

func hasPackage(lines []string) bool {
	return slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "package ") })
}

// CompileFiles compiles a policy of several files, each of which may hold
// several modules.
func CompileFiles(name string, files []Module) (*Policy, error) {
	return CompileModules(name, parts(files))
}

func parts(files []Module) []Module {
	var all []Module
	for _, f := range files {
		all = append(all, split(f.Name, f.Text)...)
	}
	return all
}
