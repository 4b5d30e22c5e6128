package cli

import (
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
	var key string
	var who []string
	c := &cobra.Command{
		Use:     "add NAME --key FILE --role ROLE",
		Short:   "Make the owner of a key an administrator",
		Long:    "Makes the owner of the public key in FILE (PEM; Ed25519 or ECDSA P-256) an\nadministrator with the given roles: admin may do everything, operator sets\nresources, configurations and images, auditor reads what holds no secret. Roles\nof your own are written into broker-admins.yaml in the state folder. A broker\nthat is being served follows within a second." + adminCodes,
		Example: "  holdfast broker admin add anna --key anna.pem --role auditor",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := a.installation()
			if err != nil {
				return err
			}
			raw, err := input.ReadFile(key, input.Key)
			if err != nil {
				return fmt.Errorf("add %s: %w", args[0], err)
			}
			public, err := roles.ParseKey(raw)
			if err != nil {
				return fmt.Errorf("add %s: %s: %w", args[0], key, err)
			}
			if err := roles.Add(dir.BrokerAdmins(), roles.Administrator{Name: args[0], Roles: who, Key: public}); err != nil {
				return fmt.Errorf("add: %w", err)
			}
			return a.answer(map[string]any{"administrator": args[0], "roles": who}, func(w io.Writer) {
				fmt.Fprintf(w, "%s is an administrator: %s\n", args[0], strings.Join(who, ", "))
			})
		},
	}
	c.Flags().StringVar(&key, "key", "", "file of the public key")
	c.Flags().StringArrayVar(&who, "role", nil, "admin, operator, auditor or one of your own; may be repeated")
	_, _ = c.MarkFlagRequired("key"), c.MarkFlagRequired("role")
	return c
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
