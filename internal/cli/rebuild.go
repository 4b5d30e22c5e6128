package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"holdfast/internal/wiring"
)

func (a *app) imageSBOM() *cobra.Command {
	c := &cobra.Command{
		Use:   "sbom IMAGE",
		Short: "Print an image's bill of materials, as SPDX JSON",
		Long: `Prints what an image is made of as an SPDX 2.3 document: every Debian package,
every Go program with its modules, and the recipe's own files, each by its
digest. IMAGE is a reference or the folder of a machine image. Where the image
has provenance, the document must be the one that its build stated.
` + referenceHelp + `
Exit codes: 0 printed, 1 failed, 2 usage, 3 it is not what the build stated.`,
		Example: "  holdfast image sbom oci:redis > redis.spdx.json\n  holdfast image sbom guest",
		Args:    cobra.ExactArgs(1),
	}
	options := a.transportFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		o, err := options()
		if err != nil {
			return err
		}
		dir, err := a.installation()
		if err != nil {
			return err
		}
		bill, err := dir.SBOM(cmd.Context(), args[0], o)
		if err != nil {
			return err
		}
		a.closeMeter()
		_, err = a.Stdout.Write(bill)
		return err
	}
	return c
}

func (a *app) imageRebuild() *cobra.Command {
	c := &cobra.Command{
		Use:   "rebuild IMAGE --check|--sign KEY",
		Short: "Build an image again from its provenance, and compare",
		Long: `Builds an image again from the recipe, lock and files that its provenance
carries, and from packages and modules by their digests. With --check the two
are compared, byte for byte: of an encrypted image what its layers hold, of a
machine image all but the signature on the kernel image, which needs the keys.
IMAGE is a reference or the folder of a machine image. The provenance is not
believed, whoever signed it: one that tells another story gives other bytes.

With --sign the key in the PEM file KEY (PKCS #8) states that it rebuilt the
image, in the file --statement names, or rebuilt-KEY.json in the folder of a
machine image: brokers may want that of several ("broker rebuilt"). Nothing is
signed when a byte differs.
` + referenceHelp + `
Exit codes: 0 equal, 1 failed, 2 usage, 3 not equal, or the provenance cannot
be true, 4 a package is on no mirror any more or Go is another, 5 a tool is not
installed.`,
		Example: "  holdfast image rebuild --check oci:redis\n  holdfast image rebuild --check guest -o guest-again\n  holdfast image rebuild --sign alice.pem guest",
		Args:    cobra.ExactArgs(1),
	}
	sources, options := sourceFlags(c), a.transportFlags(c)
	check := c.Flags().Bool("check", false, "compare what was built with IMAGE")
	output := c.Flags().StringP("output", "o", "", "folder to keep what was built in")
	signer := a.rebuildSigner(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		sign, err := signer(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if !*check && *output == "" && sign == nil {
			return usageError{errors.New("want --check to compare, --sign KEY to say so, or -o DIR to keep what is built")}
		}
		o, err := options()
		if err != nil {
			return err
		}
		b, err := a.builder(*sources)
		if err != nil {
			return err
		}
		r, err := b.Rebuild(cmd.Context(), args[0], *output, o)
		if err != nil {
			return err
		}
		return a.tellRebuild(r, sign, *check)
	}
	return c
}

func (a *app) tellRebuild(r *wiring.Rebuild, sign *wiring.RebuildSigner, check bool) error {
	if sign != nil && r.Equal {
		if err := sign.Sign(r); err != nil {
			return fmt.Errorf("sign: %w", err)
		}
	}
	if err := a.answer(r, func(w io.Writer) { printRebuild(w, r) }); err != nil {
		return err
	}
	if (check || sign != nil) && !r.Equal {
		return exitError(exitRefused)
	}
	return nil
}

// rebuildSigner gives who is to sign, or nil.
func (a *app) rebuildSigner(c *cobra.Command) func(ctx context.Context, image string) (*wiring.RebuildSigner, error) {
	key := c.Flags().String("sign", "", "PEM file of the private key that says it was rebuilt")
	file := c.Flags().String("statement", "", "file for that (default: rebuilt-KEY.json in IMAGE)")
	until := c.Flags().String("until", "", "time or day (2027-01-31) at which that ends")
	return func(ctx context.Context, image string) (*wiring.RebuildSigner, error) {
		if *key == "" {
			if *file != "" || *until != "" {
				return nil, usageError{errors.New("--statement and --until are for --sign")}
			}
			return nil, nil
		}
		end, err := endOf(*until)
		if err != nil {
			return nil, err
		}
		dir, err := a.installation()
		if err != nil {
			return nil, err
		}
		return dir.RebuildSigner(ctx, *key, *file, image, end)
	}
}

func printRebuild(w io.Writer, r *wiring.Rebuild) {
	for _, p := range r.Parts {
		if p.Have == p.Built {
			fmt.Fprintf(w, "  =  %-28s %s\n", p.Name, printable(p.Have))
			continue
		}
		fmt.Fprintf(w, "  ≠  %-28s %s\n     %-28s %s\n", p.Name, printable(p.Have), "   built again", printable(p.Built))
	}
	switch {
	case r.SignedBy == "":
		fmt.Fprintln(w, "provenance: nobody signed it")
	case r.Certified:
		fmt.Fprintf(w, "provenance: signed by %s, a key of this installation\n", r.SignedBy[:16])
	default:
		fmt.Fprintf(w, "provenance: signed by %s, which this installation does not know\n", r.SignedBy[:16])
	}
	if r.Differences != nil {
		printDiff(w, r.Differences)
	}
	for _, other := range r.Composer {
		fmt.Fprintf(w, "composed by another program: %s\n", printable(other))
	}
	verdict := "equal"
	if !r.Equal {
		verdict = "NOT equal"
	}
	fmt.Fprintf(w, "%s: %s\n", printable(r.Image), verdict)
	if r.Statement != "" {
		fmt.Fprintf(w, "signed that it was rebuilt: %s\n", printable(r.Statement))
	}
}
