package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/broker/admin"
)

func (a *app) brokerProofs() *cobra.Command {
	return a.brokerVerb(&cobra.Command{
		Use:     "proofs [ID]",
		Short:   "List the proofs of what was released, or print one",
		Long:    "Lists the proofs that the broker keeps, oldest first, or prints the one with\nthis ID, for \"holdfast verify\" to check. The broker keeps the latest 1000.",
		Example: "  holdfast broker proofs\n  holdfast broker proofs 20261121T032413.721447983Z-fc366f75dbbc1198-f49b617773789a47 > proof.json",
		Args:    cobra.MaximumNArgs(1),
	}, func(ctx context.Context, b *admin.Client, args []string) error {
		if len(args) == 1 {
			raw, err := b.Proof(ctx, args[0])
			if err == nil {
				_, err = a.Stdout.Write(raw)
			}
			return err
		}
		list, err := b.Proofs(ctx)
		if err != nil {
			return err
		}
		return a.answer(list, func(w io.Writer) {
			for _, p := range list {
				fmt.Fprintf(w, "%s  %s  %s\n", p.Time.Format(time.RFC3339), p.ID, p.Resource)
			}
		})
	})
}
