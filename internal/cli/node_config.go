package cli

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/ignition/spec"
	"holdfast/internal/input"
	"holdfast/internal/wiring"
)

func (a *app) nodeVerbs() *cobra.Command {
	return group("node", "Say what a machine is from its first boot", a.nodeConfigVerbs())
}

func (a *app) nodeConfigVerbs() *cobra.Command {
	return group("config", "Check, translate and merge configs in Ignition and Butane", a.nodeConfigCheck(), a.nodeConfigConvert(), a.nodeConfigMerge(), a.nodeConfigRender(), a.nodeConfigInitData(), a.nodeConfigPlan(), a.nodeConfigSign())
}

// readNodeConfig reads FILE, or standard input for "-".
func (a *app) readNodeConfig(path string) (name string, raw []byte, err error) {
	if path == "-" {
		raw, err = input.ReadAll(a.Stdin, spec.MaxSize)
		return "standard input", raw, err
	}
	raw, err = input.ReadFile(path, spec.MaxSize)
	return path, raw, err
}

// rootOf is the folder of a config in a file: its file URLs lead into it.
func rootOf(path string) string {
	if path == "-" || path == "standard input" {
		return ""
	}
	return filepath.Dir(path)
}

// A checkedConfig is the answer of "node config check".
type checkedConfig struct {
	File     string         `json:"file"`
	Valid    bool           `json:"valid"`
	Version  string         `json:"version,omitempty"` // of Ignition, as written or translated to
	Butane   bool           `json:"butane"`
	For      string         `json:"for,omitempty"` // minimal: it was judged by what a machine image can do
	Findings []spec.Finding `json:"findings"`
}

func (a *app) nodeConfigCheck() *cobra.Command {
	var files, key, image string
	c := &cobra.Command{
		Use:   "check FILE",
		Short: "Say what is wrong in a config, and where",
		Long: `Reads an Ignition config (3.0.0 to 3.6.0, and 3.7.0-experimental) or a Butane
one and prints what is wrong or odd in it as FILE:LINE:COLUMN: PATH: problem.
No value of the config is printed, for it may be a secret. FILE is - for
standard input. Nothing is fetched. What the engine of holdfast-node does on no
machine, as asking Tang servers, is wrong too, unless --for any says that
another engine may apply the config.

With --for minimal it is also wrong to ask for what a machine image of Holdfast
cannot do, which has no systemd: units with directives outside the subset,
kernel arguments, files where the root is read-only. That is what "run
--ignition" wants, and what a config of the variant holdfast is judged by. What
images/machine has no programs or modules for, as xfs, is a warning: a recipe of
your own may add them. With --for and that recipe's folder it is an error where
it does not.

Exit codes: 0 valid, with or without warnings; 3 not valid, or not signed by the
key; 1 it cannot be read; 2 usage.`,
		Example: "  holdfast node config check machine.bu\n  holdfast node config check machine.ign --for minimal --json\n  holdfast node config check machine.bu --for ./images/machine",
		Args:    cobra.ExactArgs(1),
	}
	filesFlag(c, &files)
	configKeyFlag(c, &key)
	c.Flags().StringVar(&image, "for", "", "what is to apply it: minimal, a machine image of Holdfast; the FOLDER of such an image's recipe, with a slash; or any, whatever reads Ignition (default: holdfast-node on any system; minimal for the variant holdfast)")
	c.RunE = func(_ *cobra.Command, args []string) error {
		var folder string
		if strings.Contains(image, "/") {
			folder, image = image, "minimal"
		}
		if image != "" && image != "minimal" && image != "any" {
			return usageError{fmt.Errorf("--for %.40q: want minimal, any, or the folder of a recipe, as ./images/machine", image)}
		}
		name, raw, err := a.readNodeConfig(args[0])
		if err != nil {
			return err
		}
		by, err := configKey(key)
		if err != nil {
			return err
		}
		checked, err := checkNodeConfig(name, raw, wiring.NodeConfig{Files: files, Root: rootOf(name), Key: by, Image: folder}, image)
		if err != nil {
			return err
		}
		if err := a.answer(checked, checked.print); err != nil {
			return err
		}
		if !checked.Valid {
			return exitError(exitRefused)
		}
		return nil
	}
	return c
}

func filesFlag(c *cobra.Command, files *string) {
	c.Flags().StringVar(files, "files-dir", "", "folder of the files that Butane's \"local\" names; without it they are refused")
}

func checkNodeConfig(name string, raw []byte, n wiring.NodeConfig, image string) (checkedConfig, error) {
	checked := checkedConfig{File: name, Findings: []spec.Finding{}}
	d, err := n.Read(name, raw)
	var bad *spec.InvalidError
	switch {
	case errors.As(err, &bad):
		checked.Findings = bad.Findings
		return checked, nil
	case err != nil:
		return checked, err
	}
	checked.Valid, checked.Version, checked.Butane = true, d.Version, d.Butane
	checked.Findings = append(checked.Findings, d.Findings...)
	var list []spec.Finding
	switch {
	case image == "minimal", image == "" && wiring.IsOurs(raw):
		checked.For = "minimal"
		list, err = n.Minimal(name, raw, d)
	case image == "":
		list = n.Refused(name, raw, d)
	}
	checked.Findings = append(checked.Findings, list...)
	checked.Valid = err == nil && !slices.ContainsFunc(list, spec.Finding.IsError)
	return checked, err
}

func (c checkedConfig) print(w io.Writer) {
	for _, f := range c.Findings {
		fmt.Fprintf(w, "%s: %s\n", f.Severity, printable(f.String()))
	}
	if !c.Valid {
		return
	}
	kind := "Ignition "
	if c.Butane {
		kind = "Butane for Ignition "
	}
	fmt.Fprintf(w, "%s: valid, %s%s\n", printable(c.File), kind, c.Version)
}
