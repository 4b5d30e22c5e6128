package api

import (
	"errors"
	"fmt"
	"slices"
)

// GuestAPI is where the workload of a machine finds the HTTP API of the
// Confidential Containers guest components (api-server-rest).
const GuestAPI = "127.0.0.1:8006"

// The features of a GuestConfig's API, named as api-server-rest names them.
const (
	APIResource    = "resource"    // /cdh/resource/REPOSITORY/TYPE/TAG
	APIAttestation = "attestation" // /aa/token, /aa/evidence
)

// HasAPI says whether the workload is given a feature.
func (c GuestConfig) HasAPI(feature string) bool { return slices.Contains(c.API, feature) }

// checkAPI refuses features that no machine has, and secrets of no kind or two.
func (c GuestConfig) checkAPI() error {
	for i, feature := range c.API {
		if feature != APIResource && feature != APIAttestation {
			return fmt.Errorf("api feature %.40q: want %s or %s", feature, APIResource, APIAttestation)
		}
		if slices.Contains(c.API[:i], feature) {
			return fmt.Errorf("api feature %s: is there twice", feature)
		}
	}
	if len(c.API) > 0 && c.Broker.URL == "" {
		return errors.New("api: there is no broker to ask")
	}
	return checkSecrets(c.Secrets)
}

func checkSecrets(all []SecretRef) error {
	for _, s := range all {
		if (s.Resource == "") == (s.Sealed == "") {
			return fmt.Errorf("secret %.80q: want a resource or a sealed secret", s.Name)
		}
	}
	return nil
}
