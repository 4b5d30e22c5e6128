package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/atomicfile"
	"holdfast/internal/ignition/spec"
	"holdfast/internal/wiring"
)

// A madeConfig is the answer of the verbs that write a config.
type madeConfig struct {
	Config   json.RawMessage `json:"config"`
	Sources  []string        `json:"sources,omitempty"` // what was fetched
	Machine  map[string]any  `json:"machine,omitempty"` // what the variant holdfast says beside it
	Findings []spec.Finding  `json:"findings,omitempty"`
	Output   string          `json:"output,omitempty"`
}

// A configMaker is a verb that makes a config of others.
type configMaker struct {
	files, output string
	key           string
	timeout       time.Duration
}

func (m *configMaker) flags(c *cobra.Command) {
	filesFlag(c, &m.files)
	c.Flags().StringVarP(&m.output, "output", "o", "", "file to write the config to, mode 0600; standard output when absent")
}

func (a *app) nodeConfigConvert() *cobra.Command {
	var m configMaker
	var version string
	c := &cobra.Command{
		Use:   "convert FILE",
		Short: "Translate Butane, or an older Ignition config, to Ignition",
		Long: `Prints a config as Ignition of --to, or of the version that a Butane config is
for. A config is translated to newer versions only. FILE is - for standard
input.

Exit codes: 0 printed, 3 not valid, 1 cannot be read or translated, 2 usage.`,
		Example: "  holdfast node config convert machine.bu > machine.ign\n  holdfast node config convert old.ign --to 3.6.0",
		Args:    cobra.ExactArgs(1),
	}
	m.flags(c)
	c.Flags().StringVar(&version, "to", "", "version of Ignition (default: that of the Butane config, or "+spec.Stable+")")
	c.RunE = func(_ *cobra.Command, args []string) error {
		d, err := a.loadNodeConfig(args[0], m.files)
		if err != nil {
			return err
		}
		if version == "" {
			version = max(spec.Stable, d.Version)
			if d.Butane {
				version = d.Version
			}
		}
		raw, err := spec.Convert(d, version)
		if err != nil {
			return err
		}
		return a.writeNodeConfig(m.output, madeConfig{Config: raw, Findings: d.Findings})
	}
	return c
}

func (a *app) nodeConfigMerge() *cobra.Command {
	var m configMaker
	c := &cobra.Command{
		Use:   "merge FILE…",
		Short: "Merge configs, each over those before it",
		Long: `Prints what configs in Ignition or Butane are together, by the rules of
ignition.config.merge: a later one counts. Nothing is fetched.

Exit codes: 0 printed, 3 not valid, 1 cannot be read, 2 usage.`,
		Example: "  holdfast node config merge base.bu machine.ign -o merged.ign",
		Args:    cobra.MinimumNArgs(1),
	}
	m.flags(c)
	c.RunE = func(_ *cobra.Command, args []string) error {
		var configs []spec.Config
		var findings []spec.Finding
		for _, path := range args {
			d, err := a.loadNodeConfig(path, m.files)
			if err != nil {
				return err
			}
			configs, findings = append(configs, d.Config), append(findings, d.Findings...)
		}
		raw, err := spec.Marshal(spec.Merge(configs...))
		if err != nil {
			return err
		}
		return a.writeNodeConfig(m.output, madeConfig{Config: raw, Findings: findings})
	}
	return c
}

func (a *app) nodeConfigRender() *cobra.Command {
	var m configMaker
	c := &cobra.Command{
		Use:   "render FILE",
		Short: "Print the whole config that a machine would have",
		Long: `Fetches all configs that FILE merges or is replaced by, as the machine would,
and prints what they are together. FILE is - for standard input. What a config
of the variant holdfast says beside that, as of a cluster or an update stream,
is printed to standard error, and stands in "machine" of --json.

Exit codes: 0 printed, 3 one is not valid, 1 cannot be read or fetched, 2 usage.`,
		Example: "  holdfast node config render machine.bu --timeout 30s",
		Args:    cobra.ExactArgs(1),
	}
	m.flags(c)
	configKeyFlag(c, &m.key)
	c.Flags().DurationVar(&m.timeout, "timeout", 2*time.Minute, "for each config, with its retries, where the config has no timeouts")
	c.RunE = func(cmd *cobra.Command, args []string) error { return a.renderNodeConfig(cmd.Context(), args[0], m) }
	return c
}

func (a *app) renderNodeConfig(ctx context.Context, path string, m configMaker) error {
	name, raw, err := a.readNodeConfig(path)
	if err != nil {
		return err
	}
	n := wiring.NodeConfig{Files: m.files, Root: rootOf(name), Timeout: m.timeout, Log: a.logger()}
	if n.Key, err = configKey(m.key); err != nil {
		return err
	}
	d, err := n.Read(name, raw)
	if err != nil {
		return err
	}
	whole, err := n.Render(ctx, path, d)
	if err != nil {
		return err
	}
	made := madeConfig{Sources: whole.Sources, Findings: append(d.Findings, whole.Findings...)}
	if made.Machine, err = n.Beside(name, raw); err != nil {
		return err
	}
	if made.Config, err = spec.Marshal(whole.Config); err != nil {
		return err
	}
	return a.writeNodeConfig(m.output, made)
}

func (a *app) loadNodeConfig(path, files string) (*spec.Document, error) {
	name, raw, err := a.readNodeConfig(path)
	if err != nil {
		return nil, err
	}
	return wiring.NodeConfig{Files: files, Root: rootOf(name)}.Read(name, raw)
}

// writeNodeConfig prints a config, or writes it where only its owner reads it.
func (a *app) writeNodeConfig(path string, made madeConfig) error {
	if path != "" {
		if err := atomicfile.WriteFile(path, made.Config, os.FileMode(0o600)); err != nil {
			return err
		}
		made.Output = path
	}
	return a.answer(made, func(w io.Writer) {
		for _, f := range made.Findings {
			fmt.Fprintf(a.Stderr, "%s: %s\n", f.Severity, printable(f.String()))
		}
		if len(made.Machine) > 0 {
			raw, _ := json.MarshalIndent(made.Machine, "", "  ") // it was read as JSON
			fmt.Fprintf(a.Stderr, "beside its Ignition config, the machine has\n%s\n", raw)
		}
		if path == "" {
			fmt.Fprint(w, string(made.Config))
		}
	})
}
