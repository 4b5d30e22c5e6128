package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"holdfast/internal/api"
	"holdfast/internal/enc/sealed"
)

// apiFlags are what a workload may ask its machine.
type apiFlags struct{ features, resources []string }

func (f *apiFlags) on(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.features, "api", nil, "resource, attestation or all: what the workload may ask at http://"+api.GuestAPI+", as in Confidential Containers (measured)")
	c.Flags().StringArrayVar(&f.resources, "resource", nil, "kbs:///REPOSITORY/TYPE/TAG: a broker's resource that the machine may have, for --api resource or a sealed secret in the image")
}

func parseFeatures(words []string) ([]string, error) {
	var list []string
	for _, word := range words {
		switch word {
		case api.APIResource, api.APIAttestation:
			list = append(list, word)
		case "all":
			list = append(list, api.APIResource, api.APIAttestation)
		default:
			return nil, fmt.Errorf("--api %.40q: want resource, attestation or all", word)
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

func parseResources(words []string) ([]string, error) {
	var list []string
	for _, word := range words {
		path, err := resource(word)
		if err != nil {
			return nil, fmt.Errorf("--resource: %w", err)
		}
		list = append(list, "kbs:///"+path)
	}
	return list, nil
}

// checkSealed refuses early what the machine would refuse after its boot.
func checkSealed(text string) error {
	_, err := sealed.Resources(text)
	return err
}
