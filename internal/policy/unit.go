package policy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
)

// A UnitTest is how one rule test_… of a policy's own tests went.
type UnitTest struct {
	Name    string `json:"name"`
	File    string `json:"file"`
	Row     int    `json:"line"`
	Pass    bool   `json:"pass"`
	Skipped bool   `json:"skipped,omitempty"` // its name begins with todo_
	Failure string `json:"failure,omitempty"`
}

// Coverage is how much of a policy its tests went through.
type Coverage struct {
	Percent float64          `json:"percent"`
	Missed  map[string][]int `json:"missed"` // lines by file
}

// testTimeout bounds each test.
const testTimeout = 10 * time.Second

// UnitTests runs the rules test_… in tests, as "opa test" does, against a
// policy. Tests may be of any package.
func UnitTests(ctx context.Context, policy, tests []Module) ([]UnitTest, Coverage, error) {
	modules, err := testModules(policy, tests)
	if err != nil {
		return nil, Coverage{}, err
	}
	covered := cover.New()
	runner := tester.NewRunner().SetCompiler(ast.NewCompiler().WithCapabilities(capabilities())).SetModules(withOurs(modules)).
		SetStore(inmem.New()).SetTimeout(testTimeout).SetCoverageQueryTracer(covered)
	results, err := runner.RunTests(ctx, nil)
	if err != nil {
		return nil, Coverage{}, compileError("tests", err)
	}
	var all []UnitTest
	for r := range results {
		all = append(all, unitTest(r))
	}
	slices.SortFunc(all, func(x, y UnitTest) int {
		return cmp.Or(strings.Compare(x.File, y.File), cmp.Compare(x.Row, y.Row))
	})
	return all, coverage(covered.Report(byFile(modules, tests))), ctx.Err()
}

// byFile are a policy's modules without its tests, by file: coverage goes by
// files, of which one may hold several modules.
func byFile(modules map[string]*ast.Module, tests []Module) map[string]*ast.Module {
	all := map[string]*ast.Module{}
	for _, m := range modules {
		name := m.Package.Location.File
		if slices.ContainsFunc(tests, func(t Module) bool { return t.Name == name }) {
			continue
		}
		if all[name] == nil {
			all[name] = &ast.Module{Package: m.Package}
		}
		all[name].Rules = append(all[name].Rules, m.Rules...)
	}
	return all
}

func testModules(policy, tests []Module) (map[string]*ast.Module, error) {
	all := map[string]*ast.Module{}
	for i, m := range parts(policy) {
		parsed, err := parse(m)
		if err != nil {
			return nil, err
		}
		all[fmt.Sprintf("%03d %s", i, m.Name)] = parsed
	}
	for _, m := range tests {
		parsed, err := ast.ParseModuleWithOpts(m.Name, m.Text, ast.ParserOptions{RegoVersion: Language(m.Text), Capabilities: capabilities()})
		if err != nil {
			return nil, compileError(m.Name, err)
		}
		all[m.Name] = parsed
	}
	return all, nil
}

func unitTest(r *tester.Result) UnitTest {
	u := UnitTest{Name: strings.TrimPrefix(r.Package, "data.") + "." + r.Name, File: r.Location.File, Row: r.Location.Row, Pass: r.Pass(), Skipped: r.Skip}
	switch {
	case r.Error != nil:
		u.Failure = r.Error.Error()
	case r.Fail:
		u.Failure = "it does not hold"
	}
	return u
}

func coverage(report cover.Report) Coverage {
	c := Coverage{Percent: report.Coverage, Missed: map[string][]int{}}
	for file, r := range report.Files {
		for _, missed := range r.NotCovered {
			for row := missed.Start.Row; row <= missed.End.Row; row++ {
				c.Missed[file] = append(c.Missed[file], row)
			}
		}
	}
	return c
}
