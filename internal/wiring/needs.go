package wiring

import (
	"fmt"
	"slices"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/enc/sealed"
)

// secretRef is a secret as the machine's configuration has it.
func (s *session) secretRef(secret Secret) api.SecretRef {
	if secret.Sealed != "" {
		return api.SecretRef{Name: secret.Name, Sealed: secret.Sealed}
	}
	return api.SecretRef{Name: secret.Name, Resource: kbsScheme + s.secretPath(secret)}
}

// resources lists all that the machine may have: what this run was told, and
// what opens the image. What a sealed secret in the image's own variables names
// is not among it: who makes an image says nothing of what a broker releases.
func (s *session) resources() ([]string, error) {
	all := slices.Concat(s.workload.keys, s.Resources)
	if i := s.Machine.Identity; i != nil {
		all = append(all, i.Resource)
	}
	for _, secret := range s.Secrets {
		if secret.Sealed == "" {
			all = append(all, kbsScheme+s.secretPath(secret))
			continue
		}
		needs, err := sealed.Resources(secret.Sealed)
		if err != nil {
			return nil, fmt.Errorf("secret %s: %w", secret.Name, err)
		}
		all = append(all, needs...)
	}
	for _, variable := range s.Env {
		name, value, _ := strings.Cut(variable, "=")
		if !sealed.Is(value) {
			continue
		}
		needs, err := sealed.Resources(value)
		if err != nil {
			return nil, fmt.Errorf("variable %.80s: %w", name, err)
		}
		all = append(all, needs...)
	}
	return once(all), nil
}

// once drops the scheme, and what was there before.
func once(all []string) []string {
	var list []string
	for _, uri := range all {
		if path := strings.TrimPrefix(uri, kbsScheme); !slices.Contains(list, path) {
			list = append(list, path)
		}
	}
	return list
}
