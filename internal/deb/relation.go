package deb

import (
	"fmt"
	"regexp"
	"strings"

	"pault.ag/go/debian/version"
)

// A Relation is one alternative of a dependency, as "libc6:any (>= 2.36)".
type Relation struct {
	Name    string
	Arch    string // qualifier, as "any" or "amd64"; mostly ""
	Op      string // <<, <=, =, >= or >>; "" for any version
	Version string
}

func (r Relation) String() string {
	s := r.Name
	if r.Arch != "" {
		s += ":" + r.Arch
	}
	if r.Op != "" {
		s += " (" + r.Op + " " + r.Version + ")"
	}
	return s
}

// relationForm is NAME[:ARCH] [(OP VERSION)] [[ARCH…]] [<PROFILE…>…]; Debian
// Policy 7.1. A single < or > is the old way to write <= and >=.
var relationForm = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9+._-]*)(?::([a-z0-9-]+))?` +
	`\s*(?:\(\s*(<<|<=|=|>=|>>|<|>)\s*([^\s()]+)\s*\))?\s*(?:\[([^][]*)\])?((?:\s*<[^<>]*>)*)$`)

// parseRelations reads a field such as Depends: groups, of each of which one
// alternative is wanted. What is for another architecture than arch, or for a
// build profile, is left out.
func parseRelations(field, arch string) ([][]Relation, error) {
	var groups [][]Relation
	for part := range strings.SplitSeq(field, ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		var group []Relation
		for text := range strings.SplitSeq(part, "|") {
			r, applies, err := parseRelation(strings.TrimSpace(text), arch)
			if err != nil {
				return nil, err
			}
			if applies {
				group = append(group, r)
			}
		}
		if len(group) > 0 {
			groups = append(groups, group)
		}
	}
	return groups, nil
}

func parseRelation(text, arch string) (r Relation, applies bool, err error) {
	m := relationForm.FindStringSubmatch(text)
	if m == nil {
		return r, false, fmt.Errorf("dependency %.80q: want NAME (OP VERSION)", text)
	}
	r = Relation{Name: m[1], Arch: m[2], Op: m[3], Version: m[4]}
	if r.Op == "<" || r.Op == ">" {
		r.Op += "="
	}
	if r.Version != "" {
		if _, err := version.Parse(r.Version); err != nil {
			return r, false, fmt.Errorf("dependency %.80q: %w", text, err)
		}
	}
	return r, m[6] == "" && forArch(strings.Fields(m[5]), arch), nil
}

// forArch judges a list such as "amd64 arm64" or "!i386"; none means all.
func forArch(list []string, arch string) bool {
	if len(list) == 0 {
		return true
	}
	negative := strings.HasPrefix(list[0], "!")
	for _, word := range list {
		word = strings.TrimPrefix(word, "!")
		if word == arch || word == "any" || word == "linux-any" || word == "any-"+arch {
			return !negative
		}
	}
	return negative
}

// admits says whether v is a version that the relation accepts.
func (r Relation) admits(v string) bool {
	if r.Op == "" {
		return true
	}
	c := compareVersions(v, r.Version)
	switch r.Op {
	case "<<":
		return c < 0
	case "<=":
		return c <= 0
	case "=":
		return c == 0
	case ">=":
		return c >= 0
	default:
		return c > 0
	}
}

// CompareVersions orders versions as deb-version(7) does. What is no version
// is an error.
func CompareVersions(a, b string) (int, error) {
	x, err := version.Parse(a)
	if err != nil {
		return 0, fmt.Errorf("version %.80q: %w", a, err)
	}
	y, err := version.Parse(b)
	if err != nil {
		return 0, fmt.Errorf("version %.80q: %w", b, err)
	}
	return version.Compare(x, y), nil
}

// compareVersions orders versions as deb-version(7) does; what is no version
// is older than all that are.
func compareVersions(a, b string) int {
	x, errX := version.Parse(a)
	y, errY := version.Parse(b)
	if errX != nil || errY != nil {
		return boolInt(errY != nil) - boolInt(errX != nil)
	}
	return version.Compare(x, y)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
