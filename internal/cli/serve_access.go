package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"holdfast/internal/wiring"
)

const accessHelp = `
The registry lets everybody in until there are rules of who may do what:
"holdfast registry user add" makes them, or --access names a file of them. A
change of that file counts within a second, and one with a mistake is logged
and changes nothing. --tls-cert and --tls-key give the registry a certificate
of another CA, which is also read again when it changes.
`

// accessFlags are the flags of who may use the registry.
func accessFlags(c *cobra.Command) func() (*wiring.AccessConfig, error) {
	a := &wiring.AccessConfig{}
	c.Flags().StringVar(&a.Rules, "access", "", "file of who may use the registry (default access.yaml in the state folder, if it is there)")
	c.Flags().StringVar(&a.URL, "registry-url", "", "how clients reach the registry when a proxy stands before it, as https://registry.example.org")
	c.Flags().StringVar(&a.Cert, "tls-cert", "", "PEM file of the registry's certificate and its chain")
	c.Flags().StringVar(&a.Key, "tls-key", "", "PEM file of that certificate's key")
	return func() (*wiring.AccessConfig, error) {
		if (a.Cert == "") != (a.Key == "") {
			return nil, usageError{errors.New("--tls-cert and --tls-key go together")}
		}
		return a, nil
	}
}
