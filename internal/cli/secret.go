package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"holdfast/internal/broker/admin"
	"holdfast/internal/enc"
	"holdfast/internal/input"
	"holdfast/internal/wiring"
)

func (a *app) secretVerbs() *cobra.Command {
	return group("secret", "Seal secrets for configurations that anybody may read", a.secretSeal())
}

func (a *app) secretSeal() *cobra.Command {
	var file, key, kid string
	c := &cobra.Command{
		Use:   "seal [RESOURCE]",
		Short: "Make a text that only a proven machine can turn into a secret",
		Long: `Prints a sealed secret of Confidential Containers, for an environment variable
or --secret of "holdfast run". It may be shown to anybody: a vault secret names
the broker's RESOURCE (kbs:///REPOSITORY/TYPE/TAG); with --file the secret is in
it, encrypted under a new key at the broker (an envelope).

It is signed by this installation's sealing key, whose public half the broker is
given, or by --signing-key, a private JWK whose public half is at the broker as
--kid.`,
		Example: "  holdfast run -e PASSWORD=$(holdfast secret seal kbs:///db/password/prod) oci:my-image\n" +
			"  holdfast secret seal --file password.txt",
		Args: cobra.MaximumNArgs(1),
	}
	c.Flags().StringVar(&file, "file", "", "seal the content of this file (- for standard input) instead of a resource's name")
	c.Flags().StringVar(&key, "signing-key", "", "file of the private JWK that signs")
	c.Flags().StringVar(&kid, "kid", "", "kbs:///REPOSITORY/TYPE/TAG of that key's public half")
	return a.brokerVerb(c, func(ctx context.Context, b *admin.Client, args []string) error {
		s, err := a.sealing(args, file, key, kid)
		if err != nil {
			return err
		}
		dir, err := a.installation()
		if err != nil {
			return err
		}
		made, err := dir.Seal(ctx, b, s)
		if err != nil {
			return fmt.Errorf("seal: %w", err)
		}
		return a.answer(made, func(w io.Writer) { fmt.Fprintln(w, made.Text) })
	})
}

// sealing understands the words of secret seal.
func (a *app) sealing(args []string, file, key, kid string) (s wiring.Sealing, err error) {
	if (len(args) == 1) == (file != "") {
		return s, usageError{errors.New("want a RESOURCE or --file, and not both")}
	}
	if (key == "") != (kid == "") {
		return s, usageError{errors.New("--signing-key and --kid go together")}
	}
	if kid != "" {
		if err := enc.CheckKID(kid); err != nil {
			return s, usageError{fmt.Errorf("--kid: %w", err)}
		}
		s.KeyID = kid
		if s.Key, err = input.ReadFile(key, input.Key); err != nil {
			return s, fmt.Errorf("--signing-key: %w", err)
		}
	}
	if file != "" {
		s.Secret, err = a.readFile(file)
		return s, err
	}
	path, err := resource(args[0])
	s.Resource = "kbs:///" + path
	return s, err
}
