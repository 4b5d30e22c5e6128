package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/api"
	"holdfast/internal/broker/admin"
	"holdfast/internal/policy"
	"holdfast/internal/wiring"
)

func (a *app) brokerPolicies() *cobra.Command {
	return group("policy", "Set the broker's policies, and go back to those before",
		a.brokerPolicySet(), a.brokerPolicyShow(), a.brokerPolicyList(), a.brokerPolicyHistory(), a.brokerPolicyRollback())
}

// policyKind reads which of a broker's policies is meant.
func policyKind(word string) (string, error) {
	if !slices.Contains(wiring.PolicyKinds, word) {
		return "", usageError{fmt.Errorf("policy %.40q: want attestation or resource", word)}
	}
	return word, nil
}

// policyVerb makes a command of the broker whose first word is a kind of policy.
func (a *app) policyVerb(c *cobra.Command, do func(ctx context.Context, b *admin.Client, kind string, rest []string) error) *cobra.Command {
	return a.brokerVerb(c, func(ctx context.Context, b *admin.Client, args []string) error {
		kind, err := policyKind(args[0])
		if err != nil {
			return err
		}
		return do(ctx, b, kind, args[1:])
	})
}

func (a *app) brokerPolicySet() *cobra.Command {
	var comment string
	var try bool
	c := &cobra.Command{
		Use:     "set KIND FILE…",
		Short:   "Replace the attestation or resource policy",
		Long:    "Shows what changes and puts the policy in FILE (several are one policy, folders\nstand for their .rego files) in force, at once and for all who share the state\nof the broker. One that does not compile is refused by its line and column. With\n--dry-run nothing is set.",
		Example: "  holdfast broker policy set attestation attestation.rego --comment \"pin PCR 0\"",
		Args:    cobra.MinimumNArgs(2),
	}
	c.Flags().StringVar(&comment, "comment", "", "why, for the history")
	c.Flags().BoolVar(&try, "dry-run", false, "show what would change, and set nothing")
	return a.policyVerb(c, func(ctx context.Context, b *admin.Client, kind string, rest []string) error {
		modules, _, err := wiring.ReadRego(rest)
		if err != nil {
			return fmt.Errorf("policy set %s: %w", kind, err)
		}
		if len(modules) == 0 {
			return usageError{errors.New("no policy is named: files that end in _test.rego are tests")}
		}
		if _, err := policy.CompileFiles(kind+".rego", modules); err != nil {
			return err
		}
		return a.changePolicy(ctx, b, kind, policy.Join(modules), api.PolicyChange{Policy: policy.Join(modules), Comment: comment}, try)
	})
}

// changePolicy shows what changes, and does it.
func (a *app) changePolicy(ctx context.Context, b *admin.Client, kind, after string, change api.PolicyChange, try bool) error {
	before, err := b.Policy(ctx, kind)
	if err != nil {
		return err
	}
	diff := []string{}
	if before.Policy != after {
		diff = wiring.LineDiff(before.Policy, after)
	}
	if !try && len(diff) > 0 {
		if err := b.ChangePolicy(ctx, kind, change); err != nil {
			return fmt.Errorf("policy %s: %w", kind, err)
		}
	}
	return a.answer(map[string]any{"kind": kind, "changed": !try && len(diff) > 0, "diff": diff}, func(w io.Writer) {
		for _, line := range diff {
			fmt.Fprintln(w, printable(strings.ReplaceAll(line, "\t", "    ")))
		}
		switch {
		case len(diff) == 0:
			fmt.Fprintf(w, "the %s policy is this one already\n", kind)
		case try:
			fmt.Fprintf(w, "the %s policy was not changed\n", kind)
		default:
			fmt.Fprintf(w, "the %s policy is in force\n", kind)
		}
	})
}

func (a *app) brokerPolicyShow() *cobra.Command {
	return a.policyVerb(&cobra.Command{
		Use:       "show KIND",
		Short:     "Print the attestation or resource policy in force",
		Long:      "Prints the policy that decides now.",
		Example:   "  holdfast broker policy show attestation > attestation.rego",
		Args:      cobra.ExactArgs(1),
		ValidArgs: wiring.PolicyKinds,
	}, func(ctx context.Context, b *admin.Client, kind string, _ []string) error {
		p, err := b.Policy(ctx, kind)
		if err != nil {
			return err
		}
		return a.answer(p, func(w io.Writer) { fmt.Fprint(w, p.Policy) })
	})
}

func (a *app) brokerPolicyList() *cobra.Command {
	return a.brokerVerb(&cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "Tell which policies are in force, and what decides by them",
		Long:    "Lists each kind of policy, its version (0 is the one that the broker ships), the\nengine and the language.",
		Example: "  holdfast broker policy list",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, b *admin.Client, _ []string) error {
		list := []api.PolicyInForce{}
		for _, kind := range wiring.PolicyKinds {
			p, err := b.Policy(ctx, kind)
			if err != nil {
				return err
			}
			list = append(list, p)
		}
		return a.answer(list, func(w io.Writer) {
			for _, p := range list {
				version := "as shipped"
				if p.Version > 0 {
					version = fmt.Sprintf("version %d", p.Version)
				}
				fmt.Fprintf(w, "%-12s  %-12s  %s\n", p.Kind, version, strings.TrimSpace(p.Engine+" "+p.Error))
			}
		})
	})
}

func (a *app) brokerPolicyHistory() *cobra.Command {
	return a.policyVerb(&cobra.Command{
		Use:       "history KIND",
		Short:     "List the versions of a policy, the latest first, and who set them",
		Long:      "Lists the versions of the attestation or resource policy that the broker keeps.",
		Example:   "  holdfast broker policy history attestation",
		Args:      cobra.ExactArgs(1),
		ValidArgs: wiring.PolicyKinds,
	}, func(ctx context.Context, b *admin.Client, kind string, _ []string) error {
		list, err := b.PolicyHistory(ctx, kind)
		if err != nil {
			return err
		}
		return a.answer(list, func(w io.Writer) {
			for _, v := range list {
				fmt.Fprintf(w, "%4d  %s  %s  %.19s  %s\n", v.Number, v.Time.UTC().Format(time.RFC3339), printable(v.Actor), v.Digest, printable(v.Comment))
			}
		})
	})
}

func (a *app) brokerPolicyRollback() *cobra.Command {
	var try bool
	c := &cobra.Command{
		Use:     "rollback KIND VERSION",
		Short:   "Put an earlier version of a policy in force again",
		Long:    "Shows what changes and makes the policy of an earlier version (\"history\" lists\nthem) the one in force, as a version of its own. 0 is the policy that the broker\nships. With --dry-run nothing is set.",
		Example: "  holdfast broker policy rollback attestation 0",
		Args:    cobra.ExactArgs(2),
	}
	c.Flags().BoolVar(&try, "dry-run", false, "show what would change, and set nothing")
	return a.policyVerb(c, func(ctx context.Context, b *admin.Client, kind string, rest []string) error {
		number, err := strconv.ParseInt(rest[0], 10, 64)
		if err != nil || number < 0 {
			return usageError{fmt.Errorf("version %.40q: want a number", rest[0])}
		}
		text, err := b.PolicyVersion(ctx, kind, number)
		if err != nil {
			return fmt.Errorf("policy %s: %w", kind, err)
		}
		return a.changePolicy(ctx, b, kind, text.Policy, api.PolicyChange{Version: &number, Comment: fmt.Sprintf("back to version %d", number)}, try)
	})
}
