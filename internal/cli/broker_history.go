package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/api"
	"holdfast/internal/broker/admin"
)

// versioned reads the words KIND and VERSION.
func versioned(kind, number string) (int64, error) {
	if !slices.Contains(api.VersionedKinds(), kind) {
		return 0, usageError{fmt.Errorf("kind %.80q: want one of %s", kind, strings.Join(api.VersionedKinds(), ", "))}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 1 {
		return 0, usageError{fmt.Errorf("version %.80q: want a number from 1", number)}
	}
	return n, nil
}

func (a *app) brokerHistory() *cobra.Command {
	return a.brokerVerb(&cobra.Command{
		Use:     "history [KIND [VERSION]]",
		Short:   "List who changed what the broker decides by, or print a version",
		Long:    "Lists the versions of what the broker decides by, the latest first. KIND is one\nof policy, reference (values of images), configuration, standing (images that\nare limited or revoked), value, rebuilder, rebuild, requirement, contents;\nwithout it, all. With VERSION, prints what that version was.",
		Example: "  holdfast broker history policy\n  holdfast broker history policy 3 > before.rego",
		Args:    cobra.MaximumNArgs(2),
	}, func(ctx context.Context, b *admin.Client, args []string) error {
		if len(args) == 2 {
			return a.printVersion(ctx, b, args[0], args[1])
		}
		kinds := api.VersionedKinds()
		if len(args) == 1 {
			if _, err := versioned(args[0], "1"); err != nil {
				return err
			}
			kinds = args
		}
		list := []api.Version{}
		for _, kind := range kinds {
			some, err := b.History(ctx, kind)
			if err != nil {
				return err
			}
			list = append(list, some...)
		}
		return a.answer(list, func(w io.Writer) {
			for _, v := range list {
				fmt.Fprintf(w, "%-13s  %4d  %s  %-8s  %s  %s  %s\n", v.Kind, v.Number, v.Time.Format(time.RFC3339), printable(v.Actor), printable(v.Name), what(v), printable(v.Comment))
			}
		})
	})
}

// what a version did, in a word.
func what(v api.Version) string {
	if v.Removed() {
		return "removed"
	}
	return v.Digest
}

func (a *app) printVersion(ctx context.Context, b *admin.Client, kind, number string) error {
	n, err := versioned(kind, number)
	if err != nil {
		return err
	}
	v, err := b.Version(ctx, kind, n)
	if err != nil {
		return fmt.Errorf("history %s %d: %w", kind, n, err)
	}
	return a.answer(v, func(w io.Writer) { _, _ = w.Write(v.Content) })
}

func (a *app) brokerRollback() *cobra.Command {
	var name, comment string
	c := &cobra.Command{
		Use:     "rollback KIND VERSION",
		Short:   "Make policies, images or configurations as they were",
		Long:    "Makes all that is of KIND as it was right after VERSION, both as \"holdfast\nbroker history\" has them; of policies both, unless --name says which. What that\nchanges becomes new versions: nothing is forgotten, and a rollback can be rolled\nback. \"holdfast broker policy rollback\" does one policy, shows what changes\nfirst, and goes back to the shipped one as well.",
		Example: "  holdfast broker rollback policy 3\n  holdfast broker rollback policy 3 --name resource --comment 'the new one let nobody in'",
		Args:    cobra.ExactArgs(2),
	}
	c.Flags().StringVar(&name, "name", "", "only what is called so")
	c.Flags().StringVar(&comment, "comment", "", "why, for the history")
	return a.brokerVerb(c, func(ctx context.Context, b *admin.Client, args []string) error {
		n, err := versioned(args[0], args[1])
		if err != nil {
			return err
		}
		made, err := b.Rollback(ctx, api.Rollback{Kind: args[0], Version: n, Name: name, Comment: comment})
		if err != nil {
			return fmt.Errorf("rollback %s %d: %w", args[0], n, err)
		}
		return a.answer(map[string]any{"kind": args[0], "versions": made}, func(w io.Writer) {
			fmt.Fprintf(w, "%s is as after version %d: %d changes\n", args[0], n, len(made))
		})
	})
}
