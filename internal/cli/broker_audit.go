package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"holdfast/internal/broker/audit"
)

func (a *app) brokerAuditVerify() *cobra.Command {
	c := &cobra.Command{
		Use:     "verify [FILE…]",
		Short:   "Check that the audit log is what was written",
		Long:    "Checks the chain of hashes through this installation's audit log, its signed\ncheckpoints, and its end against the one that the broker's state recorded; or\nthe chain in FILEs, the oldest first. Names each line that was changed, removed,\nmoved or inserted.\n\nExit codes: 0 the log is whole, 1 it is not, 2 usage.",
		Example: "  holdfast broker audit verify\n  holdfast broker audit verify audit-1.jsonl audit.jsonl",
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		dir, err := a.installation()
		if err != nil {
			return err
		}
		report, err := dir.VerifyAudit(cmd.Context(), args)
		if err != nil {
			return fmt.Errorf("audit verify: %w", err)
		}
		if err := a.answer(report, func(w io.Writer) { printAudit(w, report) }); err != nil {
			return err
		}
		if n := len(report.Problems); n > 0 {
			return fmt.Errorf("audit verify: the log is not what was written: %d problems", n)
		}
		return nil
	}
	return c
}

func printAudit(w io.Writer, r audit.Report) {
	for _, p := range r.Problems {
		fmt.Fprintln(w, p)
	}
	if len(r.Problems) > 0 {
		return
	}
	if r.First == 0 {
		fmt.Fprintf(w, "%d lines, none of them chained yet\n", r.Lines)
		return
	}
	fmt.Fprintf(w, "%d lines, chained from %d to %d, none changed, removed, moved or inserted\n", r.Lines, r.First, r.Head.Seq)
	if r.Signed > 0 {
		fmt.Fprintf(w, "%d checkpoints, signed up to %d\n", r.Checkpoints, r.Signed)
	}
	if r.Before > 0 {
		fmt.Fprintf(w, "%d lines from before there was a chain are as they were when it began\n", r.Before)
	}
	if r.Torn > 0 {
		fmt.Fprintf(w, "%d lines were cut off by a crash: nobody was told of them\n", r.Torn)
	}
}
