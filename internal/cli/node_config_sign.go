package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"holdfast/internal/atomicfile"
	"holdfast/internal/ignition/admit"
	"holdfast/internal/wiring"
)

// configKeyFlag names who must have signed a config.
func configKeyFlag(c *cobra.Command, word *string) {
	c.Flags().StringVar(word, "config-key", "", "key that must have signed the config: sha256:HEX, or a PEM file of root certificates")
}

// configKey is nobody's for no word.
func configKey(word string) (admit.Key, error) {
	if word == "" {
		return admit.Key{}, nil
	}
	return admit.ParseKey(word)
}

// A signedConfig is the answer of "node config sign".
type signedConfig struct {
	Key    string `json:"key"`
	Output string `json:"output"`
}

func (a *app) nodeConfigSign() *cobra.Command {
	var files, output string
	c := &cobra.Command{
		Use:   "sign FILE",
		Short: "Sign a config for machines that take no other",
		Long: `Checks a config and writes it with the signature of this installation's key for
statements, as one document that takes the config's place: as user data, on a
stick, behind a URL. Machines whose kernel is told ignition.config.key=KEY
refuse every other config before they parse it. FILE is - for standard input.

Exit codes: 0 signed, 3 not valid, 1 cannot be read or signed, 2 usage.`,
		Example: "  holdfast node config sign machine.ign -o machine.signed.json\n  holdfast node config check machine.signed.json --config-key sha256:…",
		Args:    cobra.ExactArgs(1),
	}
	filesFlag(c, &files)
	c.Flags().StringVarP(&output, "output", "o", "", "file to write, mode 0600; standard output when absent")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		name, raw, err := a.readNodeConfig(args[0])
		if err != nil {
			return err
		}
		dir, err := a.installation()
		if err != nil {
			return err
		}
		signed, err := dir.SignConfig(cmd.Context(), wiring.NodeConfig{Files: files, Root: rootOf(name)}, name, raw)
		if err != nil {
			return err
		}
		if output == "" {
			_, err := a.Stdout.Write(signed.Document)
			return err
		}
		if err := atomicfile.WriteFile(output, signed.Document, os.FileMode(0o600)); err != nil {
			return err
		}
		return a.answer(signedConfig{signed.Key, output}, func(w io.Writer) {
			fmt.Fprintf(w, "%s: signed\n  by key  %s\n", printable(output), signed.Key)
		})
	}
	return c
}
