package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/ca"
	"holdfast/internal/hsm"
	"holdfast/internal/seal"
	"holdfast/internal/seal/tpm"
	"holdfast/internal/wiring"
)

func (a *app) brokerRotate() *cobra.Command {
	return group("rotate", "Give the broker new keys, while it is being served", a.rotateToken(), a.rotateMaster(), a.rotateCA())
}

// rotation is a verb that makes one key of the installation anew.
func (a *app) rotation(c *cobra.Command, do func(ctx context.Context, dir wiring.Installation) error) *cobra.Command {
	c.Args = cobra.NoArgs
	c.Long += "\n\nExit codes: 0 done, 1 failed, 2 usage."
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := a.installation()
		if err != nil {
			return err
		}
		if _, err := dir.Ring(cmd.Context()); err != nil {
			return err
		}
		if err := do(cmd.Context(), dir); err != nil {
			return fmt.Errorf("rotate %s: %w", c.Name(), err)
		}
		return nil
	}
	return c
}

func (a *app) rotateToken() *cobra.Command {
	return a.rotation(&cobra.Command{
		Use:     "token",
		Short:   "Make a new key that signs attestation tokens",
		Long:    "Makes a new key that signs attestation tokens. Tokens of the old key stay good\nuntil they expire; a broker that is being served uses the new key within a\nsecond. Others read both at https://BROKER/.well-known/jwks.json.",
		Example: "  holdfast broker rotate token",
	}, func(ctx context.Context, dir wiring.Installation) error {
		done, err := dir.RotateToken(ctx)
		if err != nil {
			return err
		}
		return a.answer(done, func(w io.Writer) {
			fmt.Fprintf(w, "tokens are signed by %s; those of the key before are good until %s\n", done.Key, done.Live.Format(time.RFC3339))
		})
	})
}

func (a *app) rotateMaster() *cobra.Command {
	var in string
	var pcrs []uint
	c := &cobra.Command{
		Use:     "master",
		Short:   "Make a new master key, and seal all resources under it",
		Long:    "Makes a new master key, which wraps the keys that resources are sealed with, and\nseals every resource again under it. It is kept in a file of the state folder,\nin the TPM of this machine, or in the HSM that \"holdfast broker hsm\" named.\nEarlier masters stay in keys/master; it says when the broker needs them no more.\nWhat they sealed in backups opens with them only. The audit log tells of it.",
		Example: "  holdfast broker rotate master\n  holdfast broker rotate master --in hsm\n  holdfast broker rotate master --in tpm --pcr 7,11",
	}
	c.Flags().StringVar(&in, "in", "file", "where it is kept: file, tpm or hsm")
	c.Flags().UintSliceVar(&pcrs, "pcr", nil, "with tpm: PCRs of the SHA-256 bank that must be as they are now")
	return a.rotation(c, func(ctx context.Context, dir wiring.Installation) error {
		kind, ok := map[string]string{"file": seal.FileKind, "tpm": tpm.Kind, "hsm": hsm.MasterKind}[in]
		if !ok || len(pcrs) > 0 && kind != tpm.Kind {
			return usageError{fmt.Errorf("--in %.20q: want file, tpm or hsm, and --pcr with tpm only", in)}
		}
		options, err := json.Marshal(tpm.Options{PCRs: pcrs})
		if err != nil {
			return err
		}
		made, err := dir.RotateMaster(ctx, kind, options)
		if err != nil {
			return err
		}
		return a.answer(made, func(w io.Writer) {
			fmt.Fprintf(w, "master %s is in use, kept in %s; %d resources were sealed again\n", made.ID, in, made.Resealed)
			for _, old := range made.Earlier {
				if old.Resources > 0 {
					fmt.Fprintf(w, "master %s is still needed by %d resources that were written meanwhile: rotate again\n", old.ID, old.Resources)
					continue
				}
				fmt.Fprintf(w, "master %s is not needed any more, but to open backups made before: keys/master/%s.json may go\n", old.ID, old.ID)
			}
		})
	})
}

func (a *app) rotateCA() *cobra.Command {
	var r ca.Rotation
	c := &cobra.Command{
		Use:     "ca",
		Short:   "Make the next authority for machines' certificates",
		Long:    "Makes the authority that certifies machines (SPIFFE X.509-SVIDs), or the next\none. The first names the trust domain and signs at once. Each further one is\npublished at https://BROKER/kbs/v0/spiffe/bundle first, and signs when\nmachines have renewed their certificates: half of the life of those, and six\nminutes, later. The one before stays published until the last certificate that\nit signed has expired. The audit log tells of it.",
		Example: "  holdfast broker rotate ca --trust-domain machines.example.org\n  holdfast broker rotate ca --in-hsm",
	}
	c.Flags().StringVar(&r.Domain, "trust-domain", "", "name in spiffe:// URIs (default: that of the authority before)")
	c.Flags().BoolVar(&r.InHSM, "in-hsm", false, "keep its key in the HSM that \"holdfast broker hsm\" named")
	c.Flags().BoolVar(&r.AtOnce, "at-once", false, "sign from now on, though readers of the bundle do not know it yet")
	c.Flags().DurationVar(&r.Life, "life", 0, "how long its certificates are good, 1m to 24h (default an hour)")
	return a.rotation(c, func(ctx context.Context, dir wiring.Installation) error {
		made, err := dir.RotateCA(ctx, r)
		if err != nil {
			return err
		}
		return a.answer(made, func(w io.Writer) {
			fmt.Fprintf(w, "authority %s of %s signs from %s on\n", made.ID, made.Domain, made.Active.Format(time.RFC3339))
		})
	})
}
