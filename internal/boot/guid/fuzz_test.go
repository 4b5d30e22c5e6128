package guid

import (
	"strings"
	"testing"
)

//fuzz:parser guid.go:Parse,String,EFI,FromEFI
func FuzzParse(f *testing.F) {
	f.Add("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
	f.Add("C12A7328-F81F-11D2-BA4B-00A0C93EC93B")
	f.Add("{c12a7328-f81f-11d2-ba4b-00a0c93ec93b}")
	f.Fuzz(func(t *testing.T, s string) {
		g, err := Parse(s)
		if err != nil {
			return
		}
		if g.String() != strings.ToLower(s) || FromEFI(g.EFI()) != g {
			t.Errorf("%q became %s, and %s from its form on disk", s, g, FromEFI(g.EFI()))
		}
	})
}
