// Package roles says who administers a broker, and what each may do.
//
// A key belongs to one administrator, who has roles; a role allows methods on
// paths, as Trustee's regex_acl does
// (kbs/src/admin/authorization/regex_acl.rs). What no rule allows is refused.
package roles

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"holdfast/internal/form"
	"holdfast/internal/input"
)

// An Administrator is known by a key.
type Administrator struct {
	Name  string
	Roles []string
	Key   crypto.PublicKey // Ed25519 or ECDSA P-256
}

// Rules are what a file says. The zero value knows nobody.
type Rules struct {
	Administrators []Administrator
	roles          map[string][]rule
}

type rule struct {
	methods []string // all when empty
	path    *regexp.Regexp
}

// The shipped roles.
const (
	Admin    = "admin"    // everything
	Operator = "operator" // configurations, resources, images
	Auditor  = "auditor"  // reads what holds no secret
)

var shipped = map[string][]rule{
	Admin: {{path: whole(`^/kbs/v0/.+$`)}},
	Operator: {
		{path: whole(`^/kbs/v0/(resource|holdfast/configurations|holdfast/contents|reference-value)(/.+)?$`)},
		{methods: []string{"GET"}, path: whole(`^/kbs/v0/holdfast/.+$`)},
	},
	Auditor: {{methods: []string{"GET"}, path: whole(`^/kbs/v0/(holdfast|reference-value|resource-policy|attestation-policy)(/.*)?$`)}},
}

// whole makes an expression fit the whole path: an alternative in it cannot
// slip past the anchors.
func whole(expression string) *regexp.Regexp { return regexp.MustCompile(`^(?:` + expression + `)$`) }

// May says whether a role allows method on path.
func (r *Rules) May(role, method, path string) bool {
	rules, own := r.roles[role]
	if !own {
		rules = shipped[role]
	}
	return slices.ContainsFunc(rules, func(rule rule) bool {
		return (len(rule.methods) == 0 || slices.Contains(rule.methods, method)) && rule.path.MatchString(path)
	})
}

// document is the file as YAML; docs/formats/kbs.md describes it.
type document struct {
	Administrators map[string]adminText  `yaml:"administrators"`
	Roles          map[string][]ruleText `yaml:"roles"`
}

type adminText struct {
	Roles form.Words `yaml:"roles"`
	Key   form.Word  `yaml:"key"`
}

type ruleText struct {
	Methods form.Words `yaml:"methods"`
	Paths   form.Word  `yaml:"paths"`
}

// Load reads the rules in a file.
func Load(path string) (*Rules, error) {
	b, err := input.ReadFile(path, input.Document)
	if err != nil {
		return nil, fmt.Errorf("administrators: %w", err)
	}
	r, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s%w", path, err)
	}
	return r, nil
}

// Parse gives errors that begin with ":LINE: ", to follow a file's name.
func Parse(b []byte) (*Rules, error) {
	var d document
	if err := form.Decode(b, &d, adminText{}, ruleText{}); err != nil {
		return nil, err
	}
	r := &Rules{roles: map[string][]rule{}}
	for name, texts := range d.Roles {
		for _, t := range texts {
			rule, err := readRule(name, t)
			if err != nil {
				return nil, err
			}
			r.roles[name] = append(r.roles[name], rule)
		}
	}
	return r, r.readAdministrators(d.Administrators)
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// CheckName says what is wrong with an administrator's name.
func CheckName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("name %.80q: want letters and digits, with . _ - @ between, 64 at most", name)
	}
	return nil
}

var methods = []string{"GET", "POST", "PUT", "DELETE"}

func readRule(role string, t ruleText) (rule, error) {
	text := t.Paths.Text
	if !strings.HasPrefix(text, "^/kbs") || !strings.HasSuffix(text, "$") {
		return rule{}, form.At(t.Paths.Line, "role %.40q: paths %.80q: want an expression from ^/kbs to $", role, text)
	}
	path, err := regexp.Compile(`^(?:` + text + `)$`)
	if err != nil {
		return rule{}, form.At(t.Paths.Line, "role %.40q: paths: %v", role, err)
	}
	out := rule{path: path}
	for _, m := range t.Methods {
		if !slices.Contains(methods, m.Text) {
			return rule{}, form.At(m.Line, "role %.40q: method %.20q: want one of %s", role, m.Text, strings.Join(methods, ", "))
		}
		out.methods = append(out.methods, m.Text)
	}
	return out, nil
}

func (r *Rules) readAdministrators(texts map[string]adminText) error {
	for name, t := range texts {
		if err := CheckName(name); err != nil {
			return form.At(t.Key.Line, "%v", err)
		}
		key, err := ParseKey([]byte(t.Key.Text))
		if err != nil {
			return form.At(t.Key.Line, "administrator %s: key: %v", name, err)
		}
		a := Administrator{Name: name, Key: key}
		for _, role := range t.Roles {
			if _, own := r.roles[role.Text]; !own && shipped[role.Text] == nil {
				return form.At(role.Line, "administrator %s: there is no role %.40q", name, role.Text)
			}
			a.Roles = append(a.Roles, role.Text)
		}
		r.Administrators = append(r.Administrators, a)
	}
	slices.SortFunc(r.Administrators, func(x, y Administrator) int { return strings.Compare(x.Name, y.Name) })
	return nil
}

// ParseKey reads a public key in PEM, or that of a certificate.
func ParseKey(text []byte) (crypto.PublicKey, error) {
	block, rest := pem.Decode(text)
	if block == nil || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, errors.New("want one PEM block of type PUBLIC KEY or CERTIFICATE")
	}
	if block.Type == "CERTIFICATE" {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return checked(cert.PublicKey)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	return checked(key)
}

func checked(key crypto.PublicKey) (crypto.PublicKey, error) {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return k, nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return k, nil
		}
	}
	return nil, errors.New("want an Ed25519 or ECDSA P-256 key")
}
