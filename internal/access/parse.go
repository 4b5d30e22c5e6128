package access

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"holdfast/internal/form"
	"holdfast/internal/input"
)

// document is the file as YAML; docs/formats/access.md describes it.
type document struct {
	Login   form.Word             `yaml:"login"`
	Proxies form.Words            `yaml:"proxies"`
	Users   map[string]form.Word  `yaml:"users"`
	Groups  map[string]form.Words `yaml:"groups"`
	Rules   []ruleText            `yaml:"rules"`
}

type ruleText struct {
	Repository form.Word  `yaml:"repository"`
	Pull       form.Words `yaml:"pull"`
	Push       form.Words `yaml:"push"`
	Delete     form.Words `yaml:"delete"`
}

// A FormError says that a file does not have the form of access rules.
type FormError struct{ Reason error }

func (e *FormError) Error() string { return e.Reason.Error() }
func (e *FormError) Unwrap() error { return e.Reason }

// Load reads the rules in a file.
func Load(path string) (*Rules, error) {
	b, err := input.ReadFile(path, input.Document)
	if err != nil {
		return nil, fmt.Errorf("access rules: %w", err)
	}
	r, err := parse(b)
	if err != nil {
		return nil, &FormError{fmt.Errorf("%s%w", path, err)}
	}
	return r, nil
}

// parse gives errors that begin with ":LINE: ", to follow a file's name.
func parse(b []byte) (*Rules, error) {
	var d document
	if err := form.Decode(b, &d, ruleText{}); err != nil {
		return nil, err
	}
	r := &Rules{hashes: map[string]string{}, groups: map[string][]string{}}
	for _, read := range []func(*document) error{r.readLogin, r.readProxies, r.readUsers, r.readGroups, r.readRules} {
		if err := read(&d); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *Rules) readLogin(d *document) error {
	switch d.Login.Text {
	case "", "bearer":
	case "basic":
		r.basic = true
	default:
		return form.At(d.Login.Line, "login %q: want bearer or basic", d.Login.Text)
	}
	return nil
}

func (r *Rules) readProxies(d *document) error {
	for _, w := range d.Proxies {
		network, err := netip.ParsePrefix(w.Text)
		if ip, alone := netip.ParseAddr(w.Text); alone == nil && ip.Zone() == "" {
			network, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		if err != nil {
			return form.At(w.Line, "proxy %.60q: want an address, or a network as 10.0.0.0/8", w.Text)
		}
		r.proxies = append(r.proxies, network)
	}
	return nil
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

const nameRule = "want letters and digits, with . _ - @ between, 64 at most"

func checkName(name string) error {
	switch {
	case !nameForm.MatchString(name):
		return fmt.Errorf("name %.80q: %s", name, nameRule)
	case name == anyone || name == users:
		return fmt.Errorf("name %q: it has a meaning of its own in rules", name)
	}
	return nil
}

// maxCost bounds what a login may cost: each step doubles it, and 14 takes
// more than a second.
const maxCost = 14

func checkHash(hash string) error {
	cost, err := bcrypt.Cost([]byte(hash))
	switch {
	case err != nil || !hashForm.MatchString(hash):
		return fmt.Errorf(`want a bcrypt hash, as "holdfast registry hash-password" or "htpasswd -B" makes it`)
	case cost > maxCost:
		return fmt.Errorf("bcrypt's cost is %d, want %d at most", cost, maxCost)
	}
	return nil
}

var hashForm = regexp.MustCompile(`^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$`)

func (r *Rules) readUsers(d *document) error {
	for _, name := range inOrder(d.Users, func(w form.Word) int { return w.Line }) {
		hash := d.Users[name]
		if err := checkName(name); err != nil {
			return form.At(hash.Line, "%v", err)
		}
		if err := checkHash(hash.Text); err != nil {
			return form.At(hash.Line, "password of %s: %v", name, err)
		}
		r.hashes[name] = hash.Text
	}
	return nil
}

func (r *Rules) readGroups(d *document) error {
	for _, name := range inOrder(d.Groups, lineOf) {
		line := lineOf(d.Groups[name])
		if err := checkName(name); err != nil {
			return form.At(line, "%v", err)
		}
		if _, taken := r.hashes[name]; taken {
			return form.At(line, "group %s: a user has this name", name)
		}
		for _, member := range d.Groups[name] {
			if _, known := r.hashes[member.Text]; !known {
				return form.At(member.Line, "group %s: no user is called %.80q", name, member.Text)
			}
			r.groups[name] = append(r.groups[name], member.Text)
		}
	}
	return nil
}

func lineOf(w form.Words) int {
	if len(w) == 0 {
		return 1
	}
	return w[0].Line
}

// inOrder gives the keys by the lines of their values, so that the first
// mistake is the one that is told.
func inOrder[T any](m map[string]T, line func(T) int) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := line(m[a]) - line(m[b]); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return names
}

func (r *Rules) readRules(d *document) error {
	lines := []int{}
	for i, text := range d.Rules {
		if text.Repository.Text == "" {
			return form.At(max(1, text.Repository.Line), "rule %d has no repository", i+1)
		}
		line := text.Repository.Line
		p, err := parsePattern(text.Repository.Text)
		if err != nil {
			return form.At(line, "%v", err)
		}
		for j, before := range r.rules {
			if before.pattern.covers(p) {
				return form.At(line, "repository %s: never reached, the rule at line %d fits first", text.Repository.Text, lines[j])
			}
		}
		who, err := r.readWho(text)
		if err != nil {
			return err
		}
		r.rules, lines = append(r.rules, rule{p, who}), append(lines, line)
	}
	return nil
}

var partForm = regexp.MustCompile(`^([a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*((\.|_|__|-+)?\*)?|\*)$`)

func parsePattern(text string) (pattern, error) {
	p := pattern(strings.Split(text, "/"))
	for i, part := range p {
		last := i == len(p)-1
		if !partForm.MatchString(part) && part != self && (part != below || !last) {
			return nil, fmt.Errorf("repository %.80q: want a name's parts, in which * and %s may stand, and ** at the end", text, self)
		}
	}
	return p, nil
}

func (r *Rules) readWho(text ruleText) (map[Action][]string, error) {
	who := map[Action][]string{}
	for action, words := range map[Action]form.Words{Pull: text.Pull, Push: text.Push, Delete: text.Delete} {
		for _, w := range words {
			if !r.isKnown(w.Text) {
				return nil, form.At(w.Line, "%s: no user and no group is called %.80q; there are also %s and %s", action, w.Text, anyone, users)
			}
			who[action] = append(who[action], w.Text)
		}
	}
	return who, nil
}

func (r *Rules) isKnown(word string) bool {
	_, user := r.hashes[word]
	_, group := r.groups[word]
	return user || group || word == anyone || word == users
}
