package wiring

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/ignition/minimal"
	"holdfast/internal/image/recipe"
)

// What the check takes for the machine image is what its recipe says.
func TestStockIsTheRecipeOfImagesMachine(t *testing.T) {
	r, err := recipe.Load("../../images/machine")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range minimal.Stock.Packages {
		if !slices.Contains(r.Packages, p) {
			t.Errorf("the recipe has no package %s", p)
		}
	}
	for _, m := range minimal.Stock.Modules {
		if !slices.Contains(r.Machine.Modules, m) {
			t.Errorf("the recipe has no module %s", m)
		}
	}
}

func TestAConfigIsJudgedByTheRecipeOfItsImage(t *testing.T) {
	raw := []byte(`{"ignition":{"version":"3.4.0"},"storage":{"filesystems":[{"device":"/dev/vdb","format":"btrfs"}]}}`)
	for _, c := range []struct{ recipe, want string }{
		{"", "warning a.ign:1:89: $.storage.filesystems[0].format: the machine image has no btrfs"},
		{"../../images/machine", "error a.ign:1:89: $.storage.filesystems[0].format: the machine image has no btrfs"},
		{"../../images/node", "makes no machine image"},
	} {
		n := NodeConfig{Image: c.recipe}
		d, err := n.Read("a.ign", raw)
		if err != nil {
			t.Fatal(err)
		}
		list, err := n.Minimal("a.ign", raw, d)
		got := fmt.Sprint(err)
		for _, f := range list {
			got += "\n" + f.Severity + " " + f.String()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("recipe %q: got %q, want %q", c.recipe, got, c.want)
		}
	}
}
