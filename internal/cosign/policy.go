package cosign

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"holdfast/internal/oci"
)

// A Policy says what an image must fulfil to be taken, by where it comes from.
// It is the policy.json of the containers tools, read as strictly as they do:
// a field that is not known, or is there twice, makes the whole file useless.
//
//	https://github.com/containers/image/blob/v5.36.2/docs/containers-policy.json.5.md
type Policy struct {
	Default    []Requirement                       `json:"default"`
	Transports map[string]map[string][]Requirement `json:"transports,omitempty"` // by transport and scope
}

// The transports whose images are judged here.
const (
	Docker = "docker" // a registry: HOST[:PORT]/PATH[:TAG|@DIGEST]
	Layout = "oci"    // an OCI layout: /PATH[:NAME]
)

// The types of requirements.
const (
	acceptAnything = "insecureAcceptAnything"
	reject         = "reject"
	sigstoreSigned = "sigstoreSigned"
	signedBy       = "signedBy" // by OpenPGP; never fulfilled here
)

// A Requirement is one of those that an image must all fulfil.
type Requirement struct {
	Type     string    `json:"type"`
	KeyDatas [][]byte  `json:"keyDatas,omitempty"` // public keys in PEM form, of which one must have signed
	Identity *Identity `json:"signedIdentity,omitempty"`
	keys     []Key
}

// An Identity says which name a signature must give the image.
type Identity struct {
	Type         string `json:"type"`
	Reference    string `json:"dockerReference,omitempty"`
	Repository   string `json:"dockerRepository,omitempty"`
	Prefix       string `json:"prefix,omitempty"`
	SignedPrefix string `json:"signedPrefix,omitempty"`
}

// ParsePolicy reads a policy. Keys that it names by their path are read with
// read; when that is nil, such a policy is refused.
func ParsePolicy(raw []byte, read func(path string) ([]byte, error)) (*Policy, error) {
	p := &Policy{}
	err := fields(raw, func(name string, value json.RawMessage) error {
		switch name {
		case "default":
			return parseRequirements(value, read, &p.Default)
		case "transports":
			p.Transports = map[string]map[string][]Requirement{}
			return fields(value, func(transport string, value json.RawMessage) error {
				scopes := map[string][]Requirement{}
				p.Transports[transport] = scopes
				return parseScopes(transport, value, read, scopes)
			})
		}
		return errUnknown
	})
	if err == nil && p.Default == nil {
		err = errors.New(`field "default" is missing`)
	}
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return p, nil
}

func parseScopes(transport string, raw []byte, read func(string) ([]byte, error), into map[string][]Requirement) error {
	return fields(raw, func(scope string, value json.RawMessage) error {
		if err := checkScope(transport, scope); err != nil {
			return err
		}
		var list []Requirement
		err := parseRequirements(value, read, &list)
		into[scope] = list
		return err
	})
}

// checkScope refuses scopes that could match nothing. Those of transports that
// are not judged here are left alone.
func checkScope(transport, scope string) error {
	switch {
	case scope == "":
		return nil
	case transport == Layout && (!filepath.IsAbs(scope) || scope == "/"):
		return errors.New(`want an absolute path, or "" for all`)
	case transport != Docker:
		return nil
	case strings.HasPrefix(scope, "*."):
		if !hostForm.MatchString(scope[2:]) {
			return errors.New("want *.DOMAIN")
		}
		return nil
	case hostForm.MatchString(scope):
		return nil
	}
	_, err := ParseName(scope)
	return err
}

func parseRequirements(raw []byte, read func(string) ([]byte, error), into *[]Requirement) error {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || len(list) == 0 {
		return errors.New("want a list of one requirement at least")
	}
	for i, one := range list {
		r, err := parseRequirement(one, read)
		if err != nil {
			return fmt.Errorf("requirement %d: %w", i+1, err)
		}
		*into = append(*into, r)
	}
	return nil
}

func parseRequirement(raw []byte, read func(string) ([]byte, error)) (Requirement, error) {
	var r Requirement
	var keys keySource
	err := fields(raw, func(name string, value json.RawMessage) error {
		switch name {
		case "type":
			return word(value, &r.Type)
		case "signedIdentity":
			r.Identity = &Identity{}
			return parseIdentity(value, r.Identity)
		case "keyPath", "keyPaths", "keyData", "keyDatas", "keyType":
			return keys.take(name, value)
		case "fulcio", "pki", "rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas":
			return errors.New("certificates and transparency logs are not judged here: want a key")
		}
		return errUnknown
	})
	if err != nil {
		return r, err
	}
	return r, r.finish(keys, read)
}

// finish holds the fields against the type.
func (r *Requirement) finish(from keySource, read func(string) ([]byte, error)) error {
	switch r.Type {
	case acceptAnything, reject:
		if from.used != 0 || from.kind != "" || r.Identity != nil {
			return fmt.Errorf("%s takes no other field", r.Type)
		}
		return nil
	case signedBy: // kept for other scopes' sake: its keys are OpenPGP's
		r.KeyDatas = nil
		return nil
	case sigstoreSigned:
		if from.kind != "" {
			return errors.New(`field "keyType": not known`)
		}
	default:
		return fmt.Errorf("type %.80q: want %s, %s or %s", r.Type, acceptAnything, reject, sigstoreSigned)
	}
	var err error
	if r.KeyDatas, err = from.read(read); err != nil {
		return err
	}
	for _, data := range r.KeyDatas {
		list, err := ParseKeys(data)
		if err == nil && len(list) > 1 {
			err = fmt.Errorf("%d keys at once: want one", len(list))
		}
		if err != nil {
			return fmt.Errorf("key: %w", err)
		}
		r.keys = append(r.keys, list...)
	}
	return nil
}

// NeedsSignature says whether an image that fulfils all is signed for sure.
func NeedsSignature(all []Requirement) bool {
	for _, r := range all {
		if r.Type != acceptAnything {
			return true
		}
	}
	return false
}

// A keySource is where a requirement has its keys: one of the four ways.
type keySource struct {
	used  int
	kind  string // keyType
	paths []string
	datas [][]byte
}

func (k *keySource) take(name string, value json.RawMessage) error {
	k.used++
	var path string
	var data []byte
	switch name {
	case "keyType":
		k.used--
		return word(value, &k.kind)
	case "keyPath":
		err := word(value, &path)
		k.paths = []string{path}
		return err
	case "keyPaths":
		return list(value, &k.paths)
	case "keyData":
		err := list(value, &data)
		k.datas = [][]byte{data}
		return err
	}
	return list(value, &k.datas)
}

func (k *keySource) read(read func(string) ([]byte, error)) ([][]byte, error) {
	if k.used != 1 {
		return nil, errors.New("want exactly one of keyPath, keyPaths, keyData and keyDatas")
	}
	for _, path := range k.paths {
		if read == nil {
			return nil, fmt.Errorf("key file %.200q: there are none here: want keyData", path)
		}
		if !filepath.IsAbs(path) {
			return nil, fmt.Errorf("key file %.200q: want an absolute path", path)
		}
		data, err := read(path)
		if err != nil {
			return nil, err
		}
		k.datas = append(k.datas, data)
	}
	if len(k.datas) == 0 {
		return nil, errors.New("want one key at least")
	}
	return k.datas, nil
}

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
