package cosign

import (
	"path/filepath"
	"strings"

	"holdfast/internal/oci"
)

// A Subject is an image that a policy is asked about.
type Subject struct {
	Transport string // Docker or Layout
	Name      Name   // of an image in a registry
	Path      string // of a layout, absolute, and what follows it as :NAME
	Digest    oci.Digest
}

func (s Subject) String() string {
	if s.Transport == Docker {
		return s.Name.String()
	}
	return s.Transport + ":" + s.Path
}

// scopes are those that hold s, the most specific first.
func (s Subject) scopes() []string {
	if s.Transport != Docker {
		return pathScopes(s.Path)
	}
	var list []string
	n := s.Name
	if n.Digest != "" {
		list = append(list, n.Repository+"@"+string(n.Digest))
	}
	if n.Tag != "" {
		list = append(list, n.Repository+":"+n.Tag)
	}
	at := n.Repository
	for i := 0; i >= 0; i = strings.LastIndexByte(at, '/') {
		if i > 0 {
			at = at[:i]
		}
		list = append(list, at)
	}
	at, _, _ = strings.Cut(at, ":") // a wildcard is of any port
	for {
		_, domain, ok := strings.Cut(at, ".")
		if !ok {
			return append(list, "")
		}
		list, at = append(list, "*."+domain), domain
	}
}

func pathScopes(path string) []string {
	var list []string
	dir, name, ok := strings.Cut(path, ":")
	if ok && name != "" {
		list = append(list, path)
	}
	for ; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		list = append(list, dir)
	}
	return append(list, "")
}

// For gives the requirements for s, and the transport and scope that they
// stand under; both are empty when they are the policy's default.
func (p *Policy) For(s Subject) (all []Requirement, transport, scope string) {
	for _, scope := range s.scopes() {
		if all, ok := p.Transports[s.Transport][scope]; ok {
			return all, s.Transport, scope
		}
	}
	return p.Default, "", ""
}
