package spec

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	ign "github.com/coreos/ignition/v2/config/shared/errors"
)

// whole are errors of a config as a whole, which have tests of their own, and
// one of the engine.
var whole = []error{ign.ErrInvalid, ign.ErrEmpty, ign.ErrInvalidVersion, ign.ErrUnknownVersion, ign.ErrEngineConfiguration}

// upstreams are the texts of all errors that upstream's package has, by name.
func upstreams(t *testing.T) map[string]string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/coreos/ignition/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(strings.TrimSpace(string(dir)), "config/shared/errors/errors.go")
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		call, ok := spec.Values[0].(*ast.CallExpr)
		if !ok || len(call.Args) != 1 {
			return true
		}
		if literal, ok := call.Args[0].(*ast.BasicLit); ok {
			texts[spec.Names[0].Name], _ = strconv.Unquote(literal.Value)
		}
		return true
	})
	return texts
}

func TestNoErrorOfUpstreamIsForgotten(t *testing.T) {
	shown := map[string]bool{}
	for _, err := range append(append([]error{}, never...), whole...) {
		shown[err.Error()] = true
	}
	for _, b := range broken {
		if b.err != nil {
			shown[b.err.Error()] = true
		}
	}
	all := upstreams(t)
	if len(all) < 75 {
		t.Fatalf("found %d errors in upstream's package, want its 78", len(all))
	}
	for name, text := range all {
		if !shown[text] {
			t.Errorf("no config shows %s: %s", name, text)
		}
	}
}

// An enabled unit that nothing can enable is a warning of upstream's with the
// unit's name in it, and so not among those above.
func TestAUnitThatNothingEnablesIsNamed(t *testing.T) {
	f := findingsOf(t, "{\"ignition\":{\"version\":\"3.4.0\"},\n \"systemd\":{\"units\":[{\"name\":\"a.service\",\"enabled\":true,\"contents\":\"[Service]\\n\"}]}}")
	if len(f) != 1 || f[0].Line != 2 || f[0].Path != "$.systemd.units[0].contents" || f[0].Severity != "warning" || f[0].Problem == "" {
		t.Errorf("got %+v", f)
	}
}

func TestAnEmptyConfigIsToldApart(t *testing.T) {
	for _, text := range []string{"", " \n"} {
		if _, err := (Loader{}).Load("c.ign", []byte(text)); !errors.Is(err, ErrEmpty) || !strings.Contains(err.Error(), "c.ign") {
			t.Errorf("%q: got %v", text, err)
		}
	}
}
