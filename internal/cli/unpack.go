package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"holdfast/internal/image/transport"
	"holdfast/internal/wiring"
)

func (a *app) imageUnpack() *cobra.Command {
	var files []string
	c := &cobra.Command{
		Use:   "unpack IMAGE DIR [--key FILE]",
		Short: "Unpack an image into a folder, decrypting it on the way",
		Long: `Makes the folder DIR of an image's layers, the way a guest does: every layer is
verified, decrypted when a private key (PEM or JWK) fits, and applied. DIR must
not be there, and gets its name only when every byte was found genuine. Files
get the owners that the image says, which takes root; device nodes are left out.
` + referenceHelp + `
Exit codes: 0 unpacked, 1 failed, 2 usage, 3 content was altered or no key
fits.`,
		Example: "  holdfast image unpack oci:redis-enc rootfs --key alice.key",
		Args:    cobra.ExactArgs(2),
	}
	c.Flags().StringArrayVarP(&files, "key", "k", nil, "file of a private key; may be repeated")
	options := a.transportFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		o, err := options()
		if err != nil {
			return err
		}
		src, err := transport.Parse(args[0])
		if err != nil {
			return usageError{err}
		}
		r, err := wiring.Unpack(cmd.Context(), src, args[1], files, o)
		if err != nil {
			return err
		}
		return a.answer(r, func(w io.Writer) { fmt.Fprintf(w, "%s: %s, %d layers\n", r.Dir, r.Digest, r.Layers) })
	}
	return c
}
