package policy

import (
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// v0 is how a module says that it is written in the older Rego: a comment
// before its package, with the name that OPA's bundle manifest has for it.
const v0 = "# rego_version: 0"

// Language is the version of Rego that a module is written in.
func Language(source string) ast.RegoVersion {
	for line := range strings.Lines(source) {
		line = strings.TrimSpace(line)
		if line == v0 {
			return ast.RegoV0
		}
		if line != "" && !strings.HasPrefix(line, "#") {
			break
		}
	}
	return ast.RegoV1
}

// Languages names the engine and the versions of Rego that a policy is in:
// "OPA 1.22.0, Rego v1".
func (p *Policy) Languages() string {
	versions := map[string]bool{}
	for _, m := range p.modules {
		versions[Language(m.Text).String()] = true
	}
	text := Engine + ", Rego "
	switch {
	case versions["v0"] && versions["v1"]:
		return text + "v1 and v0"
	case versions["v0"]:
		return text + "v0"
	}
	return text + "v1"
}
