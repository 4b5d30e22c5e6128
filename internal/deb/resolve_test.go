package deb

import (
	"errors"
	"strings"
	"testing"
)

// universe reads packages from lines such as "a 1.0: Depends: b; Provides: c".
func universe(lines string) *Universe {
	x := &Index{Suite: "bookworm"}
	for line := range strings.SplitSeq(strings.TrimSpace(lines), "\n") {
		head, rest, _ := strings.Cut(strings.TrimSpace(line), ": ")
		name, version, _ := strings.Cut(head, " ")
		control := "Package: " + name + "\nVersion: " + version + "\nArchitecture: amd64\n" + strings.ReplaceAll(rest, "; ", "\n") + "\n"
		x.packages = append(x.packages, &Package{Name: name, Version: version, Suite: "bookworm", Control: Paragraph(control)})
	}
	u := newUniverse("bookworm", "amd64")
	u.add(x)
	return u
}

func resolve(lines, packages, exclude string) (string, error) {
	got, err := universe(lines).Resolve(Request{Packages: strings.Fields(packages), Exclude: strings.Fields(exclude)})
	var names []string
	for _, p := range got {
		names = append(names, p.Name+"="+p.Version)
	}
	return strings.Join(names, " "), err
}

func TestResolverChooses(t *testing.T) {
	for claim, c := range map[string]struct{ lines, packages, exclude, want string }{
		"all that is needed, once": {"a 1: Depends: b, c\nb 1: Pre-Depends: c\nc 1: Depends: a\nd 1", "a", "", "a=1 b=1 c=1"},
		"the first alternative":    {"a 1: Depends: b | c\nb 1\nc 1", "a", "", "a=1 b=1"},
		"an alternative that is there already": {
			"a 1: Depends: b | c\nb 1\nc 1", "a c", "", "a=1 c=1"},
		"an alternative that another needs anyway": {
			"a 1: Depends: b | c, d\nb 1\nc 1\nd 1: Depends: c", "a", "", "a=1 c=1 d=1"},
		"another alternative where the first does not exist": {
			"a 1: Depends: x | c\nc 1", "a", "", "a=1 c=1"},
		"another alternative where the first leads nowhere": {
			"a 1: Depends: b | c\nb 1: Depends: x\nc 1", "a", "", "a=1 c=1"},
		"another alternative where the first conflicts": {
			"a 1: Depends: b | c\nb 1: Conflicts: a\nc 1", "a", "", "a=1 c=1"},
		"the newest version":        {"a 1\na 10\na 9", "a", "", "a=10"},
		"a version that is allowed": {"a 1: Depends: b (<< 2)\nb 1\nb 2", "a", "", "a=1 b=1"},
		"a provider": {
			"a 1: Depends: v\nb 1: Provides: v\nc 1: Provides: w", "a", "", "a=1 b=1"},
		"the provider of higher priority": {
			"a 1: Depends: v\nb 1: Provides: v; Priority: extra\nc 1: Provides: v; Priority: required", "a", "", "a=1 c=1"},
		"the real package before providers": {
			"a 1: Depends: v\nb 1: Provides: v\nv 1", "a", "", "a=1 v=1"},
		"a provider of the right version": {
			"a 1: Depends: v (>= 2)\nb 1: Provides: v\nc 1: Provides: v (= 1)\nd 1: Provides: v (= 3)", "a", "", "a=1 d=1"},
		"no newer package than provides it": {
			"a 1: Depends: v\nb 1: Provides: v\nb 2\nc 1: Provides: v", "a", "", "a=1 c=1"},
		"nothing for an excluded package": {
			"a 1: Depends: b (>= 5), c\nb 1: Depends: d\nc 1", "a", "b", "a=1 c=1"},
		"nothing for what an excluded package provides": {
			"a 1: Depends: v\nb 1: Provides: v\nc 1: Provides: v", "a", "b", "a=1"},
		"a package of any architecture": {"a 1: Depends: b:any\nb 1", "a", "", "a=1 b=1"},
		"what conflicts only with itself": {
			"a 1: Provides: v; Conflicts: v", "a", "", "a=1"},
		"no essential package by itself": {"a 1\nb 1: Essential: yes", "a", "", "a=1"},
	} {
		if got, err := resolve(c.lines, c.packages, c.exclude); err != nil || got != c.want {
			t.Errorf("%s: got %q and %v, want %q", claim, got, err, c.want)
		}
	}
}

func TestResolverExplains(t *testing.T) {
	for want, c := range map[string]struct{ lines, packages, exclude string }{
		"no package redsi-server in bookworm for amd64; did you mean redis-server?": {"redis-server 1", "redsi-server", ""},
		"no package x | y (>= 2) in bookworm for amd64, which a 1 needs":            {"a 1: Depends: x | y (>= 2)", "a", ""},
		"no package b (>= 2) in bookworm for amd64, which a 1 needs; there is b 1":  {"a 1: Depends: b (>= 2)\nb 1", "a", ""},
		"b 1 conflicts with a 1 (a), and both are needed":                           {"a 1: Depends: b\nb 1: Conflicts: a", "a", ""},
		"b 1 conflicts with a 1 (a (<< 2)), and both are needed":                    {"a 1\nb 1: Breaks: a (<< 2)", "a b", ""},
		"a 1 conflicts with c 1 (v), and both are needed":                           {"a 1: Depends: c; Conflicts: v\nc 1: Provides: v", "a", ""},
		"package v is virtual: name one of b, c":                                    {"b 1: Provides: v\nc 1: Provides: v", "v", ""},
		"package a is both wanted and excluded":                                     {"a 1", "a", "a"},
		`b 1: dependency "c >= 1": want NAME (OP VERSION)`:                          {"a 1: Depends: b\nb 1: Depends: c >= 1", "a", ""},
		"both b 2 and b 1 are needed":                                               {"a 1: Depends: b (<< 2)\nb 1\nb 2", "b a", ""},
	} {
		if got, err := resolve(c.lines, c.packages, c.exclude); err == nil || err.Error() != want {
			t.Errorf("got %q and %v\nwant %s", got, err, want)
		}
	}
	var missing *MissingError
	if _, err := resolve("redis-server 1", "redis", ""); !errors.As(err, &missing) || missing.Near[0] != "redis-server" {
		t.Errorf("got %v, want a MissingError with a near name", err)
	}
}
