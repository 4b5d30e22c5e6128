package policy

import (
	"embed"
	"io/fs"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

//go:embed attestation/*.rego resource/*.rego earlier/*.rego reference.rego result.rego
var files embed.FS

// The policies that hold until an administrator sets others. Each documents the
// input and data that a policy of its kind is given, in its first module.
var (
	Attestation = Join(shipped("attestation"))
	Resource    = Join(shipped("resource"))
)

// Earlier are the policies of a kind ("attestation", "resource") that former
// versions of this program shipped: proofs tell of decisions by them.
func Earlier(kind string) []string {
	var all []string
	for _, m := range read("earlier/" + kind + "-*.rego") {
		all = append(all, m.Text)
	}
	return all
}

// shipped has the module that all of a kind share first.
func shipped(kind string) []Module {
	all := read(kind + "/*.rego")
	slices.SortStableFunc(all, func(x, y Module) int { return common(x) - common(y) })
	return all
}

func common(m Module) int {
	if strings.HasSuffix(m.Name, "/common.rego") {
		return 0
	}
	return 1
}

func read(pattern string) []Module {
	paths, err := fs.Glob(files, pattern)
	if err != nil {
		panic(err) // the pattern is ours
	}
	var all []Module
	for _, path := range paths {
		raw, err := files.ReadFile(path)
		if err != nil {
			panic(err) // it is in the program
		}
		all = append(all, Module{path, string(raw)})
	}
	return all
}

// withOurs adds what every policy finds: the function query_reference_value,
// unless it brings its own, and where its answers are gathered.
func withOurs(modules map[string]*ast.Module) map[string]*ast.Module {
	all := map[string]*ast.Module{"result": ours("result.rego")}
	own := false
	for name, m := range modules {
		all[name] = m
		for _, r := range m.Rules {
			own = own || r.Head.Ref().String() == "query_reference_value"
		}
	}
	if !own {
		all["reference"] = ours("reference.rego")
	}
	return all
}

func ours(path string) *ast.Module {
	m := read(path)[0]
	return ast.MustParseModuleWithOpts(m.Text, ast.ParserOptions{RegoVersion: ast.RegoV1})
}
