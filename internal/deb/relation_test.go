package deb

import (
	"os/exec"
	"reflect"
	"testing"
)

func TestRelationsAreReadAsPolicySays(t *testing.T) {
	got, err := parseRelations("a, b:any (>= 1:2~rc1-3) | c(<<2) ,\n d [!i386 !arm64] , e [i386], f <!nocheck>, g (< 1), x [linux-any],", "amd64")
	want := [][]Relation{
		{{Name: "a"}}, {{Name: "b", Arch: "any", Op: ">=", Version: "1:2~rc1-3"}, {Name: "c", Op: "<<", Version: "2"}},
		{{Name: "d"}}, {{Name: "g", Op: "<=", Version: "1"}}, {{Name: "x"}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v and %v\nwant %v", got, err, want)
	}
	for _, bad := range []string{"a b", "a (>= )", "a (~ 1)", "(= 1)", "a (= 1", "-a", "a (>= v:1)"} {
		if got, err := parseRelations(bad, "amd64"); err == nil {
			t.Errorf("%q: got %v, want an error", bad, got)
		}
	}
}

func TestVersionsAreOrderedAsDpkgOrders(t *testing.T) {
	versions := []string{"1.0", "1.0-1", "1.0~rc1-1", "1:0.1", "1.0+deb12u1", "1.0.1", "1.10", "1.9", "0", "1.0-1.1", "1.0-1~bpo12+1",
		"2.36-9+deb12u14", "2.36-9+deb12u9", "5:7.0.15-1~deb12u10", "1.0a", "1.0-0", "20200122-1", "01.0"}
	dpkg, err := exec.LookPath("dpkg")
	if err != nil {
		t.Skip("needs dpkg: run it on Debian")
	}
	for _, a := range versions {
		for i, b := range versions[:6] {
			op := []string{"<<", "<=", "=", ">=", ">>", "<<"}[i]
			want := exec.CommandContext(t.Context(), dpkg, "--compare-versions", a, op, b).Run() == nil
			if got := (Relation{Op: op, Version: b}).admits(a); got != want {
				t.Errorf("%s %s %s: got %v, dpkg says %v", a, op, b, got, want)
			}
		}
	}
}
