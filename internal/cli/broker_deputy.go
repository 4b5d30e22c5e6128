package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"holdfast/internal/wiring"
)

// deputyFlags say who administers a broker, when it is not the installation.
func deputyFlags(c *cobra.Command) func(at string) (wiring.Deputy, error) {
	var d wiring.Deputy
	c.Flags().StringVar(&d.Key, "admin-key", "", "private key of an administrator (default: this installation's own)")
	c.Flags().StringVar(&d.Role, "admin-role", "", "with --admin-key: role to act in (default: admin)")
	c.Flags().StringVar(&d.Root, "broker-root", "", "with --broker and --admin-key: root certificate of the broker's installation (its keys/root.crt), where it is not this one")
	return func(at string) (wiring.Deputy, error) {
		if d.Key == "" && (d.Role != "" || d.Root != "") {
			return d, errors.New("--admin-role and --broker-root go with --admin-key")
		}
		if d.Root != "" && at == "" {
			return d, errors.New("--broker-root goes with --broker")
		}
		return d, nil
	}
}
