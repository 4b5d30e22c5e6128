package cli

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"holdfast/internal/wiring"
)

func (a *app) brokerCheck() *cobra.Command {
	c := &cobra.Command{
		Use:     "check",
		Short:   "Check all that the broker keeps",
		Long:    "Reads the whole of this installation's broker's state, opens each resource, and\nchecks the audit log.\n\nExit codes: 0 all is well, 1 it is not, 2 usage.",
		Example: "  holdfast broker check",
		Args:    cobra.NoArgs,
	}
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := a.installation()
		if err != nil {
			return err
		}
		report, err := dir.CheckBroker(cmd.Context())
		if err != nil {
			return fmt.Errorf("broker check: %w", err)
		}
		if err := a.answer(report, func(w io.Writer) { printBroker(w, report) }); err != nil {
			return err
		}
		if err := report.Err(); err != nil {
			return fmt.Errorf("broker check: %w", err)
		}
		if n := len(report.State.Sealed); n > 0 {
			return fmt.Errorf("broker check: %d resources do not open with this installation's key: %s first", n, report.State.Sealed[0])
		}
		return nil
	}
	return c
}

func printBroker(w io.Writer, r wiring.BrokerReport) {
	fmt.Fprintf(w, "%d resources open, %d versions, %d proofs, %d decisions\n", r.State.Resources, r.State.Versions, r.State.Proofs, r.State.Decisions)
	if n := len(r.State.Sealed); n > 0 {
		fmt.Fprintf(w, "%d resources do not open with the keys at hand: %s first\n", n, r.State.Sealed[0])
	}
	for _, m := range r.Needs {
		fmt.Fprintf(w, "master %s is needed for %d of them\n", m.ID, m.Resources)
	}
	printAudit(w, r.Audit)
}

func (a *app) brokerBackup() *cobra.Command {
	var withKeys bool
	c := &cobra.Command{
		Use:     "backup FILE",
		Short:   "Write all that the broker keeps to a file",
		Long:    "Writes this installation's broker's state and audit log to FILE, while it may be\nserved. Secrets stay sealed: without the installation's keys nobody can open\nthem. --with-keys puts those into it, too; then FILE is as good as all of them.\n\nExit codes: 0 done, 1 failed, 2 usage.",
		Example: "  holdfast broker backup broker-monday.tar",
		Args:    cobra.ExactArgs(1),
	}
	c.Flags().BoolVar(&withKeys, "with-keys", false, "put the installation's private keys into it")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		dir, err := a.installation()
		if err != nil {
			return err
		}
		m, err := dir.BackUp(cmd.Context(), args[0], withKeys)
		if err != nil {
			return fmt.Errorf("backup %s: %w", args[0], err)
		}
		return a.answer(m, func(w io.Writer) { fmt.Fprintf(w, "wrote %d files to %s\n", len(m.Files), args[0]) })
	}
	return c
}

func (a *app) brokerRestore() *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use:     "restore FILE",
		Short:   "Make a backup what the broker keeps",
		Long:    "Checks the backup in FILE, whole, and makes it what this installation's broker\nkeeps, which must be nothing yet. The master keys that its resources rest on\nmust be in it or here already; an HSM is reached as this installation does\n(holdfast broker hsm), whatever the backup says. --check only checks it. Serve\nthe broker afterwards, not meanwhile.\n\nExit codes: 0 done, 1 the backup is bad or something is there, 2 usage.",
		Example: "  holdfast broker restore broker-monday.tar --check\n  holdfast broker restore broker-monday.tar --state elsewhere",
		Args:    cobra.ExactArgs(1),
	}
	c.Flags().BoolVar(&check, "check", false, "only check it")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		dir, err := a.installation()
		if err != nil {
			return err
		}
		report, err := dir.Restore(cmd.Context(), args[0], check)
		if err != nil {
			return fmt.Errorf("restore %s: %w", args[0], err)
		}
		return a.answer(report, func(w io.Writer) {
			printBroker(w, report)
			if slices.ContainsFunc(report.Needs, func(m wiring.MasterNeed) bool { return m.HSM }) {
				fmt.Fprintln(w, "some of its keys are in an HSM, and this installation names none: holdfast broker hsm does")
			}
		})
	}
	return c
}
