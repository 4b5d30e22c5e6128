package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/wiring"
)

func (a *app) whyVerb() *cobra.Command {
	return &cobra.Command{
		Use:   "why IMAGE|SECRET|RUN|DIGEST",
		Short: "Show the chain of statements behind a thing",
		Long: `Finds what this installation knows of a thing, and shows it as a tree: of a
secret (REPOSITORY/TYPE/TAG), who stored it, which configurations may have it,
by which policies, and who got it, with the proofs; of a machine image or an OCI
layout, the statements beside it, who signed them, and what was released to
machines that ran it; of a run, its images, its configuration and what it was
given. Signatures and proofs are checked on the way.

Exit codes: 0 all that was found is good, 1 failed, 2 usage, 3 something of it
did not verify.`,
		Example: "  holdfast why redis/secret/password\n  holdfast why guest --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := a.installation()
			if err != nil {
				return err
			}
			link, err := dir.Why(cmd.Context(), args[0])
			if err != nil {
				return fmt.Errorf("why: %w", err)
			}
			if err := a.answer(link, func(w io.Writer) { printLink(w, link, "", "") }); err != nil {
				return err
			}
			if n := link.Problems(); n > 0 {
				return brokenChainError{args[0], n}
			}
			return nil
		},
	}
}

// brokenChainError says that not all of a chain holds.
type brokenChainError struct {
	subject string
	n       int
}

func (e brokenChainError) Error() string {
	return fmt.Sprintf("why %.120s: %s did not verify", e.subject, count(e.n, "thing"))
}

// printLink prints a tree, whose first line begins with first and the others
// with rest.
func printLink(w io.Writer, l *wiring.Link, first, rest string) {
	fmt.Fprintf(w, "%s%s", first, l.Kind)
	for _, word := range []string{l.Name, l.Text} {
		if word != "" {
			fmt.Fprintf(w, "  %s", printable(word))
		}
	}
	fmt.Fprintln(w)
	below := rest + "│    "
	if len(l.Links) == 0 {
		below = rest + "     "
	}
	if l.Digest != "" && !strings.Contains(l.Name, l.Digest) {
		fmt.Fprintf(w, "%s%s\n", below, printable(l.Digest))
	}
	if l.Problem != "" {
		fmt.Fprintf(w, "%sPROBLEM: %s\n", below, printable(l.Problem))
	}
	for i, child := range l.Links {
		if i == len(l.Links)-1 {
			printLink(w, child, rest+"└─ ", rest+"   ")
			continue
		}
		printLink(w, child, rest+"├─ ", rest+"│  ")
	}
}
