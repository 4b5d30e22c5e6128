package units

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// table is what the page has to say of the subset.
func table() string {
	var b strings.Builder
	for _, section := range []string{"Unit", "Service", "Timer", "Install"} {
		fmt.Fprintf(&b, "### [%s]\n\n| directive | |\n|---|---|\n", section)
		for _, row := range rows(section) {
			fmt.Fprintf(&b, "| %s | %s |\n", row[0], row[1])
		}
		b.WriteString("\n")
	}
	return b.String()
}

// rows put directives that mean the same in one line.
func rows(section string) [][2]string {
	var list [][2]string
	for _, name := range slices.Sorted(maps.Keys(directives[section])) {
		means := directives[section][name].means
		i := slices.IndexFunc(list, func(r [2]string) bool { return r[1] == means })
		if i < 0 {
			list = append(list, [2]string{"`" + name + "`", means})
		} else {
			list[i][0] += " `" + name + "`"
		}
	}
	return list
}

func TestThePageHasTheWholeSubset(t *testing.T) {
	raw, err := os.ReadFile("../../../docs/formats/units.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(raw), table()) {
		t.Errorf("docs/formats/units.md lacks this, as it is:\n%s", table())
	}
	for name := range builtin {
		if !strings.Contains(string(raw), "`"+name+"`") {
			t.Errorf("docs/formats/units.md does not name %s", name)
		}
	}
	for kind, why := range elsewhere {
		if !strings.Contains(string(raw), "`"+kind+"`") {
			t.Errorf("docs/formats/units.md does not say of %s: %s", kind, why)
		}
	}
}
