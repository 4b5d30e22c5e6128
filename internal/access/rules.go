package access

import (
	"net/netip"
	"slices"
	"strings"
)

// An Action is what somebody may do with a repository.
type Action string

// The actions. Who may push or delete may pull.
const (
	Pull   Action = "pull"
	Push   Action = "push"
	Delete Action = "delete"
)

// Words that stand for people in rules.
const (
	anyone = "anyone" // also those who do not log in
	users  = "users"  // all who have a password
)

// Rules are what a file says. The zero value allows nothing to anybody.
type Rules struct {
	hashes map[string]string   // user → bcrypt
	groups map[string][]string // group → users
	rules  []rule
	basic  bool // ask for passwords with each request, in place of tokens

	proxies []netip.Prefix // who may say for whom they ask
}

type rule struct {
	pattern pattern
	who     map[Action][]string
}

// May says whether user, "" when nobody, may do a with a repository. The
// first rule whose pattern fits decides.
func (r *Rules) May(user string, a Action, repository string) bool {
	if _, known := r.hashes[user]; user != "" && !known {
		return false
	}
	parts := strings.Split(repository, "/")
	for i := range r.rules {
		if rule := &r.rules[i]; rule.pattern.fits(parts, user) {
			return rule.allows(r, user, a)
		}
	}
	return false
}

func (u *rule) allows(r *Rules, user string, a Action) bool {
	for _, word := range u.who[a] {
		if r.is(user, word) {
			return true
		}
	}
	return a == Pull && (u.allows(r, user, Push) || u.allows(r, user, Delete))
}

// is says whether word stands for user.
func (r *Rules) is(user, word string) bool {
	switch word {
	case anyone:
		return true
	case users, self:
		return user != "" // of self, the pattern saw to the rest
	case user:
		return user != ""
	}
	return user != "" && slices.Contains(r.groups[word], user)
}

// A pattern is a repository's name in which a part may be * (any one part),
// end in * (any ending), or be {user}; and whose last part may be ** (all
// that is below).
type pattern []string

// self stands in a pattern for the name of who asks.
const self = "{user}"

const below = "**"

func (p pattern) fits(parts []string, user string) bool {
	for i, want := range p {
		switch {
		case want == below:
			return len(parts) > i
		case i >= len(parts) || !fitsPart(want, parts[i], user):
			return false
		}
	}
	return len(parts) == len(p)
}

func fitsPart(want, part, user string) bool {
	if want == self {
		return user != "" && part == user
	}
	start, open := strings.CutSuffix(want, "*")
	return want == part || open && strings.HasPrefix(part, start)
}

// covers says whether everything that q fits, p fits too.
func (p pattern) covers(q pattern) bool {
	for i, want := range p {
		switch {
		case want == below:
			return len(q) > i
		case i >= len(q) || q[i] == below || !coversPart(want, q[i]):
			return false
		}
	}
	return len(p) == len(q)
}

func coversPart(want, part string) bool {
	start, open := strings.CutSuffix(want, "*")
	return want == part || want == "*" || open && part != self && strings.HasPrefix(part, start)
}
