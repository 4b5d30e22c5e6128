package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/keys"
	"holdfast/internal/sign"
)

func (a *app) keyVerbs() *cobra.Command {
	return group("key", "Make and show the keys of this installation", a.keyInit(), a.keyList(), a.keyPublic(), a.keyProvide())
}

func (a *app) keyInit() *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Make one root and the keys it certifies",
		Long: `Makes a root key and, certified by it, the keys for Secure Boot (PK, KEK, db),
for statements about images, for TLS, for the broker's tokens, its proofs and
its administrator. Existing keys are never replaced.

Exit codes: 0 made, 1 failed (also when keys exist), 2 usage.`,
		Example: "  holdfast key init\n  holdfast key init --state /srv/holdfast",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := a.installation()
			if err != nil {
				return err
			}
			ring, err := keys.Init(cmd.Context(), dir.Keys(), time.Now())
			if err != nil {
				return fmt.Errorf("make keys: %w", err)
			}
			return a.showKeys(ring)
		},
	}
}

func (a *app) keyList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the keys with what they are for",
		Long:    "Lists the certificates of this installation; private keys are never shown.\n\nExit codes: 0 listed, 1 failed, 2 usage.",
		Example: "  holdfast key list --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := a.installation()
			if err != nil {
				return err
			}
			ring, err := keys.Open(cmd.Context(), dir.Keys(), time.Now())
			if err != nil {
				return fmt.Errorf("open keys: %w", err)
			}
			return a.showKeys(ring)
		},
	}
}

func (a *app) keyPublic() *cobra.Command {
	return &cobra.Command{
		Use:   "public NAME",
		Short: "Print a public key in PEM form",
		Long: `Prints the public key called NAME, as "image", in the form that cosign, openssl
and "holdfast image verify --key" read.

Exit codes: 0 printed, 1 failed, 2 usage.`,
		Example: "  holdfast key public image > image.pub",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(keys.Names(), args[0]) {
				return usageError{fmt.Errorf("key %.40q: want one of %s", args[0], strings.Join(keys.Names(), ", "))}
			}
			dir, err := a.installation()
			if err != nil {
				return err
			}
			ring, err := keys.Open(cmd.Context(), dir.Keys(), time.Now())
			if err != nil {
				return fmt.Errorf("open keys: %w", err)
			}
			pem, err := ring.PublicPEM(args[0])
			if err != nil {
				return err
			}
			return a.answer(map[string]string{"name": args[0], "public": string(pem)}, func(w io.Writer) { fmt.Fprintf(w, "%s", pem) })
		},
	}
}

type keyRow struct {
	Name        string    `json:"name"`
	Purpose     string    `json:"purpose"`
	KeyID       string    `json:"key_id"`
	NotAfter    time.Time `json:"not_after"`
	Certificate string    `json:"certificate"`
}

func (a *app) showKeys(ring *keys.Ring) error {
	var rows []keyRow
	for _, name := range keys.Names() {
		cert := ring.Pair(name).Certificate
		rows = append(rows, keyRow{
			Name: name, Purpose: keys.Purpose(name), KeyID: sign.KeyID(cert),
			NotAfter: cert.NotAfter, Certificate: filepath.Join(ring.Dir(), name+".crt"),
		})
	}
	return a.answer(rows, func(w io.Writer) {
		for _, r := range rows {
			fmt.Fprintf(w, "%-6s %s  %s\n", r.Name, r.KeyID[:16], r.Purpose)
		}
		fmt.Fprintf(w, "in %s\n", ring.Dir())
	})
}
