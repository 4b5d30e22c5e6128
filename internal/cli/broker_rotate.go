package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) brokerRotate() *cobra.Command {
	return &cobra.Command{
		Use:       "rotate token",
		Short:     "Give the broker a new key for its tokens",
		Long:      "Makes a new key that signs attestation tokens. Tokens of the old key stay good\nuntil they expire; a broker that is being served uses the new key within a\nsecond. Others read both at https://BROKER/.well-known/jwks.json.\n\nExit codes: 0 done, 1 failed, 2 usage.",
		Example:   "  holdfast broker rotate token",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"token"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := a.installation()
			if err != nil {
				return err
			}
			done, err := dir.RotateToken(cmd.Context())
			if err != nil {
				return fmt.Errorf("rotate the token key: %w", err)
			}
			return a.answer(done, func(w io.Writer) {
				fmt.Fprintf(w, "tokens are signed by %s; those of the key before are good until %s\n", done.Key, done.Live.Format(time.RFC3339))
			})
		},
	}
}
