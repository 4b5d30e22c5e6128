package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/api"
	"holdfast/internal/broker/admin"
	"holdfast/internal/wiring"
)

func (a *app) brokerRequire() *cobra.Command {
	var count int
	var by []string
	c := &cobra.Command{
		Use:   "require",
		Short: "Say how many must have rebuilt an image before it is trusted",
		Long: `Requires that images were rebuilt, byte for byte, by the keys of so many of the
named rebuilders, beside all else. It holds at once, tokens that are out
included. With --rebuilt 0 nothing is required; without flags it tells what is.`,
		Example: "  holdfast broker require --rebuilt 2 --by alice,bob,carol",
		Args:    cobra.NoArgs,
	}
	c.Flags().IntVar(&count, "rebuilt", 0, "how many must have")
	c.Flags().StringSliceVar(&by, "by", nil, "names of rebuilders, with commas between")
	return a.brokerVerb(c, func(ctx context.Context, b *admin.Client, _ []string) error {
		var r api.Requirements
		var err error
		switch {
		case !c.Flags().Changed("rebuilt") && len(by) > 0, count > 0 && len(by) == 0, count == 0 && len(by) > 0, count < 0:
			return usageError{errors.New("want --rebuilt N with --by NAME,NAME…, or --rebuilt 0")}
		case !c.Flags().Changed("rebuilt"):
			r, err = b.Requirements(ctx)
		case count > 0:
			r.Rebuilders = &api.RebuildersRequired{Of: slices.Compact(slices.Sorted(slices.Values(by))), AtLeast: count}
			fallthrough
		default:
			err = b.Require(ctx, r)
		}
		if err != nil {
			return fmt.Errorf("require: %w", err)
		}
		unasked, err := unaskedBy(ctx, b)
		if err != nil {
			return fmt.Errorf("require: %w", err)
		}
		answer := struct {
			api.Requirements
			Unasked []string `json:"unasked_by"` // policies that do not look at it
		}{r, unasked}
		return a.answer(answer, func(w io.Writer) { printRequired(w, r, unasked) })
	})
}

func printRequired(w io.Writer, r api.Requirements, unasked []string) {
	if r.Rebuilders == nil {
		fmt.Fprintln(w, "images need not be rebuilt by anybody")
		return
	}
	fmt.Fprintf(w, "images must be rebuilt by %d of %s\n", r.Rebuilders.AtLeast, strings.Join(r.Rebuilders.Of, ", "))
	for _, kind := range unasked {
		fmt.Fprintf(w, "but the %s policy in force is not the shipped one, and does not ask for it\n", kind)
	}
}

// unaskedBy are the policies in force that do not speak of requirements.
func unaskedBy(ctx context.Context, b *admin.Client) ([]string, error) {
	list := []string{}
	for _, kind := range wiring.PolicyKinds {
		p, err := b.Policy(ctx, kind)
		if err != nil {
			return nil, err
		}
		if !strings.Contains(p.Policy, "data.requirements") {
			list = append(list, kind)
		}
	}
	return list, nil
}
