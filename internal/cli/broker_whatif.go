package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/api"
	"holdfast/internal/broker/admin"
	"holdfast/internal/wiring"
)

func (a *app) brokerWhatIf() *cobra.Command {
	var change wiring.WhatIf
	c := &cobra.Command{
		Use:   "whatif [POLICY…]",
		Short: "List which decisions would be others under another policy",
		Long: `Asks again what the broker was asked, under the policy in the files POLICY or
under the one in force, and lists the decisions that would be others, with their
reasons before and then. --distrust and --withdraw leave out reference values
and configurations. Nothing is changed. The broker keeps the latest 10000
decisions.

Exit codes: 0 all would be the same, 1 some would not, 2 usage, 3 the broker
refused.`,
		Example: "  holdfast broker whatif attestation.rego\n  holdfast broker whatif --kind resource --withdraw sha256:9ab0…",
	}
	c.Flags().StringVar(&change.Kind, "kind", "attestation", "which decisions: attestation or resource")
	c.Flags().StringArrayVar(&change.Distrust, "distrust", nil, "ID of reference values that would not be trusted; may be repeated")
	c.Flags().StringArrayVar(&change.Withdraw, "withdraw", nil, "digest of a configuration that would not be authorised; may be repeated")
	broker := a.brokerFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 && !cmd.Flags().Changed("kind") {
			if _, err := policyKind(args[0]); err == nil { // the one that ships judges its own kind of decisions
				change.Kind = args[0]
			}
		}
		if _, err := policyKind(change.Kind); err != nil {
			return err
		}
		if len(args)+len(change.Distrust)+len(change.Withdraw) == 0 {
			return usageError{errors.New("nothing would change: name a policy, or --distrust or --withdraw something")}
		}
		modules, _, err := wiring.ReadRego(args)
		if err != nil {
			return fmt.Errorf("whatif: %w", err)
		}
		change.Policy = modules
		b, err := broker(cmd.Context())
		if err != nil {
			return err
		}
		defer b.Close()
		report, err := wiring.RunWhatIf(cmd.Context(), b, change)
		if err != nil {
			return fmt.Errorf("whatif: %w", err)
		}
		if err := a.answer(report, func(w io.Writer) { printWhatIf(w, report) }); err != nil || len(report.Changed) == 0 {
			return err
		}
		return exitError(exitFailed)
	}
	return c
}

func printWhatIf(w io.Writer, r *wiring.WhatIfReport) {
	for _, c := range r.Changed {
		fmt.Fprintf(w, "%d  %s  %s %s  session %s\n", c.ID, c.Time, c.Action, printable(c.Resource), c.Session)
		fmt.Fprintf(w, "  was   %s\n  then  %s\n", outcome(c.Allow, c.Reasons), outcome(c.Then, c.Why))
	}
	fmt.Fprintf(w, "%d of %s would be others\n", len(r.Changed), count(r.Asked, r.Kind+" decision"))
}

func outcome(allow bool, reasons []string) string {
	if allow {
		return "allowed"
	}
	return "refused: " + printable(strings.Join(reasons, "; "))
}

func (a *app) brokerDecisions() *cobra.Command {
	return a.brokerVerb(&cobra.Command{
		Use:     "decisions",
		Short:   "List the decisions that the broker keeps, for \"policy test\" and \"whatif\"",
		Long:    "Lists the latest 10000 decisions, oldest first, with their numbers. With --json\neach is a line of its own that holds what the policy was asked.",
		Example: "  holdfast broker decisions",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, b *admin.Client, _ []string) error {
		return b.EachDecision(ctx, 0, func(d api.RecordedDecision) (bool, error) {
			if a.json {
				return true, a.printJSON(a.Stdout, d)
			}
			_, err := fmt.Fprintf(a.Stdout, "%d  %s  %-12s  session %s  %s\n", d.ID, d.Time.UTC().Format(time.RFC3339), d.Action, d.Session, outcome(d.Allow, d.Reasons))
			return true, err
		})
	})
}
