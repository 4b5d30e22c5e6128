package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"holdfast/internal/atomicfile"
	"holdfast/internal/wiring"
)

// An initDataFile is the answer of "node config init-data".
type initDataFile struct {
	Digest   string `json:"digest"` // by which an administrator allows it
	Document string `json:"document,omitempty"`
	Output   string `json:"output,omitempty"`
}

func (a *app) nodeConfigInitData() *cobra.Command {
	var files, output string
	c := &cobra.Command{
		Use:   "init-data FILE",
		Short: "Write the document that a machine measures of a config",
		Long: `Writes the init-data document of a config in Butane of the variant holdfast: its
Ignition config, and what it says of workload, registry and attestation. A
machine measures the document before it looks into it; "broker allow DIGEST"
lets it have resources. FILE is - for standard input.

Exit codes: 0 written, 3 not valid, 1 cannot be read or written, 2 usage.`,
		Example: "  holdfast node config init-data machine.bu --files-dir . -o machine.initdata.toml",
		Args:    cobra.ExactArgs(1),
	}
	filesFlag(c, &files)
	c.Flags().StringVarP(&output, "output", "o", "", "file to write, mode 0600; standard output when absent")
	c.RunE = func(_ *cobra.Command, args []string) error {
		name, raw, err := a.readNodeConfig(args[0])
		if err != nil {
			return err
		}
		document, digest, err := wiring.NodeConfig{Files: files, Root: rootOf(name)}.InitData(name, raw)
		if err != nil {
			return err
		}
		answer := initDataFile{Digest: digest, Output: output}
		if output == "" {
			answer.Document = string(document)
		} else if err := atomicfile.WriteFile(output, document, 0o600); err != nil {
			return err
		}
		return a.answer(answer, func(w io.Writer) {
			if output == "" {
				_, _ = w.Write(document)
				return
			}
			fmt.Fprintf(w, "%s\n", digest)
		})
	}
	return c
}
