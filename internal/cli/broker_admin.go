package cli

import (
	"crypto"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/broker/roles"
	"holdfast/internal/input"
)

func (a *app) brokerAdmin() *cobra.Command {
	return group("admin", "Say who administers the broker, beside this installation's own key",
		a.brokerAdminAdd(), a.brokerAdminList(), a.brokerAdminRemove())
}

const adminCodes = "\n\nExit codes: 0 done, 1 failed, 2 usage."

func (a *app) brokerAdminAdd() *cobra.Command {
	var key, made string
	var who []string
	c := &cobra.Command{
		Use:   "add NAME --role ROLE [--key FILE | --new-key FILE]",
		Short: "Make the owner of a key an administrator",
		Long: `Makes the owner of a key an administrator with the given roles: admin may do
everything, operator sets resources, configurations and images, auditor reads
what holds no secret. The public key is in FILE (PEM; Ed25519 or ECDSA P-256),
or a new key is made and its private half written to FILE, for NAME to use with
--admin-key FILE --admin-role ROLE in any verb of the broker. Roles of your own
are written into broker-admins.yaml in the state folder. A broker that is being
served follows within a second.` + adminCodes,
		Example: "  holdfast broker admin add anna --key anna.pem --role auditor\n  holdfast broker admin add bert --new-key bert.key --role operator\n  holdfast broker list --admin-key bert.key --admin-role operator",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := a.installation()
			if err != nil {
				return err
			}
			if (key == "") == (made == "") {
				return usageError{errors.New("want either --key or --new-key")}
			}
			admin := roles.Administrator{Name: args[0], Roles: who}
			if key != "" {
				if admin.Key, err = readPublic(key); err != nil {
					return fmt.Errorf("add %s: %w", args[0], err)
				}
			}
			if err := dir.AddAdministrator(admin, made); err != nil {
				return fmt.Errorf("add: %w", err)
			}
			return a.answer(map[string]any{"administrator": args[0], "roles": who}, func(w io.Writer) {
				fmt.Fprintf(w, "%s is an administrator: %s\n", args[0], strings.Join(who, ", "))
			})
		},
	}
	c.Flags().StringVar(&key, "key", "", "file of the public key")
	c.Flags().StringVar(&made, "new-key", "", "file to write a new private key to")
	c.Flags().StringArrayVar(&who, "role", nil, "admin, operator, auditor or one of your own; may be repeated")
	_ = c.MarkFlagRequired("role") // the flag is there
	return c
}

func readPublic(path string) (crypto.PublicKey, error) {
	raw, err := input.ReadFile(path, input.Key)
	if err != nil {
		return nil, err
	}
	public, err := roles.ParseKey(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return public, nil
}

func (a *app) brokerAdminList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the broker's administrators",
		Long:    "Lists the administrators beside the installation's own key, and their roles." + adminCodes,
		Example: "  holdfast broker admin list --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := a.installation()
			if err != nil {
				return err
			}
			rules, err := dir.Administrators()
			if err != nil {
				return err
			}
			list := []map[string]any{}
			for _, admin := range rules.Administrators {
				list = append(list, map[string]any{"name": admin.Name, "roles": admin.Roles})
			}
			return a.answer(list, func(w io.Writer) {
				for _, admin := range rules.Administrators {
					fmt.Fprintf(w, "%s  %s\n", admin.Name, strings.Join(admin.Roles, ", "))
				}
			})
		},
	}
}

func (a *app) brokerAdminRemove() *cobra.Command {
	return &cobra.Command{
		Use:     "remove NAME",
		Short:   "End somebody's being an administrator",
		Long:    "Removes an administrator. A broker that is being served follows within a second." + adminCodes,
		Example: "  holdfast broker admin remove anna",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := a.installation()
			if err != nil {
				return err
			}
			if err := roles.Remove(dir.BrokerAdmins(), args[0]); err != nil {
				return fmt.Errorf("remove: %w", err)
			}
			return a.answer(map[string]string{"removed": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "removed %s\n", args[0]) })
		},
	}
}
