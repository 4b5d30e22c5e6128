package cosign

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
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
		if !hostForm.MatchString(scope[2:]) || strings.Contains(scope, ":") {
			return errors.New("want *.DOMAIN, which is of any port")
		}
		return nil
	case hostForm.MatchString(scope):
		return nil
	}
	_, err := ParseName(scope)
	return err
}
