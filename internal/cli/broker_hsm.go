package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"holdfast/internal/broker/admin"
	"holdfast/internal/wiring"
)

func (a *app) brokerHSM() *cobra.Command {
	var h wiring.HSM
	c := &cobra.Command{
		Use:     "hsm --module LIBRARY --token LABEL --pin-file FILE",
		Short:   "Name the HSM that keeps the broker's keys",
		Long:    "Tries the HSM behind a PKCS#11 library and, when it answers, makes it the one of\nthis installation; a broker that is being served must be started again. The\nlibrary runs in a program of its own, holdfast-pkcs11 (\"make pkcs11\" builds\nit), which reads the PIN from the file: it is neither copied nor shown.\n\nExit codes: 0 done, 1 failed, 2 usage.",
		Example: "  holdfast broker hsm --module /usr/lib/softhsm/libsofthsm2.so --token holdfast --pin-file pin",
		Args:    cobra.NoArgs,
	}
	c.Flags().StringVar(&h.Module, "module", "", "the vendor's PKCS#11 library")
	c.Flags().StringVar(&h.Token, "token", "", "label of the token")
	c.Flags().StringVar(&h.PINFile, "pin-file", "", "file that holds the user's PIN")
	c.Flags().StringVar(&h.Program, "program", "", "holdfast-pkcs11 (default: the one beside this program)")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if h.Module == "" || h.Token == "" || h.PINFile == "" {
			return usageError{fmt.Errorf("--module, --token and --pin-file must be given")}
		}
		dir, err := a.installation()
		if err != nil {
			return err
		}
		if _, err := dir.Ring(cmd.Context()); err != nil {
			return err
		}
		keys, err := dir.UseHSM(cmd.Context(), h)
		if err != nil {
			return fmt.Errorf("hsm: %w", err)
		}
		return a.answer(map[string]any{"token": h.Token, "keys": len(keys)}, func(w io.Writer) {
			fmt.Fprintf(w, "token %s answers and holds %d keys; start a broker again that is being served\n", h.Token, len(keys))
		})
	}
	return c
}

func (a *app) brokerKey() *cobra.Command {
	return a.brokerVerb(&cobra.Command{
		Use:     "key [PATH]",
		Short:   "Make a key in the HSM that never leaves it, or list those there are",
		Long:    "Makes an AES-256 key in the broker's HSM, under the name of a resource: a\nmachine that may have the resource may have packets opened by it, and nobody\ngets the key. Encrypt images for it with --recipient hsm:///PATH. Without PATH\nit lists the HSM's keys.",
		Example: "  holdfast broker key default/key/redis\n  holdfast broker key",
		Args:    cobra.MaximumNArgs(1),
	}, func(ctx context.Context, b *admin.Client, args []string) error {
		if len(args) == 0 {
			return a.listKept(ctx, b)
		}
		path, err := resource(args[0])
		if err != nil {
			return err
		}
		if err := b.MakeKept(ctx, path); err != nil {
			return fmt.Errorf("key %s: %w", path, withoutHSM(err))
		}
		return a.answer(map[string]string{"key": path}, func(w io.Writer) { fmt.Fprintf(w, "made %s, which never leaves the HSM\n", path) })
	})
}

func (a *app) listKept(ctx context.Context, b *admin.Client) error {
	keys, err := b.KeptKeys(ctx)
	if err != nil {
		return fmt.Errorf("key: %w", withoutHSM(err))
	}
	return a.answer(keys, func(w io.Writer) {
		for _, k := range keys {
			stays := "can leave the HSM"
			if k.NeverExtractable && k.Sensitive && !k.Extractable {
				stays = "never leaves the HSM"
			}
			fmt.Fprintf(w, "%-8s %-4s %s  %q\n", k.Class, k.Type, stays, k.Label)
		}
	})
}

// withoutHSM says what it means that a broker does not serve an HSM's paths.
func withoutHSM(err error) error {
	var answer *admin.RefusedError
	if errors.As(err, &answer) && answer.Status == http.StatusNotFound {
		return fmt.Errorf("the broker names no HSM (holdfast broker hsm does): %w", err)
	}
	return err
}
