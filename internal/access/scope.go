package access

import (
	"regexp"
	"slices"
	"strings"
)

// A scope is a resource and what may be done with it, as in distribution's
// token scope documentation (docs/content/spec/auth/scope.md).
type scope struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

const (
	typeRepository = "repository"
	typeRegistry   = "registry"
	catalog        = "catalog" // the resource of type registry
	all            = "*"       // every action
)

// maxScopes bounds a token: clients ask for the two repositories of a mount,
// or for some that they push in one go.
const maxScopes = 100

var (
	typeForm       = regexp.MustCompile(`^([a-z0-9]+)(?:\([a-z0-9]+\))?$`)
	repositoryForm = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	actionForm     = regexp.MustCompile(`^[a-z*]+$`)
)

// parseScopes reads lists of scopes, which spaces part; what is no scope is
// left out, as nobody may do it.
func parseScopes(lists []string) []scope {
	var scopes []scope
	for _, list := range lists {
		for text := range strings.FieldsSeq(list) {
			if s, ok := parseScope(text); ok && len(scopes) < maxScopes {
				scopes = append(scopes, s)
			}
		}
	}
	return scopes
}

// parseScope splits at the first and the last colon: a name may have a port
// in it. A class, as in repository(plugin), is no longer told apart.
func parseScope(text string) (scope, bool) {
	kind, rest, ok := strings.Cut(text, ":")
	end := strings.LastIndexByte(rest, ':')
	m := typeForm.FindStringSubmatch(kind)
	if !ok || end < 0 || m == nil {
		return scope{}, false
	}
	s := scope{Type: m[1], Name: rest[:end]}
	for action := range strings.SplitSeq(rest[end+1:], ",") {
		if actionForm.MatchString(action) && !slices.Contains(s.Actions, action) {
			s.Actions = append(s.Actions, action)
		}
	}
	return s, len(s.Name) <= maxName && len(s.Actions) > 0
}

const maxName = 255

// String is the scope as clients send it.
func (s scope) String() string { return s.Type + ":" + s.Name + ":" + strings.Join(s.Actions, ",") }

// grant gives user of what is asked for what the rules give, which may be
// nothing; that is no error (docs/content/spec/auth/token.md).
func (r *Rules) grant(user string, asked []scope) []scope {
	granted := []scope{}
	for _, s := range asked {
		have := scope{Type: s.Type, Name: s.Name, Actions: []string{}}
		switch {
		case s.Type == typeRepository && repositoryForm.MatchString(s.Name):
			for _, a := range []Action{Pull, Push, Delete} {
				if s.has(string(a)) && r.May(user, a, s.Name) {
					have.Actions = append(have.Actions, string(a))
				}
			}
		case s.Type == typeRegistry && s.Name == catalog && s.has(all):
			have.Actions = []string{all} // everybody may list what he may pull
		}
		if len(have.Actions) > 0 {
			granted = append(granted, have)
		}
	}
	return granted
}

func (s scope) has(action string) bool {
	return slices.Contains(s.Actions, action) || slices.Contains(s.Actions, all)
}
