package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/attack"
)

var shells = []string{"bash", "zsh", "fish", "powershell"}

func (a *app) completionVerb() *cobra.Command {
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print a script that completes words for bash, zsh, fish or powershell",
		Long: `Prints a script for the shell that completes verbs, flags, what flags take, and
the names of runs.

  bash        source <(holdfast completion bash), with package bash-completion
  zsh         source <(holdfast completion zsh), behind compinit
  fish        holdfast completion fish | source
  powershell  holdfast completion powershell | Out-String | Invoke-Expression

With --json the script is the member "script" of an object.

Exit codes: 0 printed, 1 failed, 2 usage.`,
		Example:   "  source <(holdfast completion bash)",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), oneOf("shell", shells)),
		ValidArgs: shells,
		RunE: func(c *cobra.Command, args []string) error {
			var script strings.Builder
			if err := writeCompletion(c.Root(), args[0], &script); err != nil {
				return err
			}
			return a.answer(map[string]string{"shell": args[0], "script": script.String()}, func(w io.Writer) { fmt.Fprint(w, script.String()) })
		},
	}
}

func writeCompletion(root *cobra.Command, shell string, w *strings.Builder) error {
	switch shell {
	case "bash":
		return root.GenBashCompletionV2(w, true)
	case "zsh":
		return root.GenZshCompletion(w)
	case "fish":
		return root.GenFishCompletion(w, true)
	}
	return root.GenPowerShellCompletionWithDesc(w)
}

// oneOf refuses a word that is none of list.
func oneOf(what string, list []string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if !slices.Contains(list, args[0]) {
			return fmt.Errorf("%s %.40q: want %s", what, args[0], strings.Join(list, ", "))
		}
		return nil
	}
}

// runNames completes names of runs, each once.
func (a *app) runNames(c *cobra.Command, before []string, _ string) ([]string, cobra.ShellCompDirective) {
	dir, err := a.installation()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, r := range dir.Known() {
		if slices.Contains(before, r.Name) || c.Name() == "stop" && r.Over() || c.Name() == "kill" && r.Over() {
			continue
		}
		names = append(names, cobra.CompletionWithDesc(r.Name, stateOf(r)))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// fixed are flags that take one of a few words, wherever they are.
var fixed = map[string][]string{
	"accel":  {"auto", "kvm", "tcg"},
	"format": {"oci", "machine"},
	"log":    {"file", "none"},
	"memory": {"512m", "1g", "2g", "4g"},
}

// worded are flags whose words nobody can guess, and that name no file.
var worded = []string{"name", "publish", "env", "tmpfs", "cpus", "user", "hostname", "entrypoint", "broker", "resource", "time", "since"}

// complete says of c and all below it how words are completed. What is not
// said here is a file.
func (a *app) complete(c *cobra.Command) {
	for flag, words := range fixed {
		if c.Flags().Lookup(flag) != nil {
			_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
		}
	}
	for _, flag := range worded {
		if c.Flags().Lookup(flag) != nil {
			_ = c.RegisterFlagCompletionFunc(flag, cobra.NoFileCompletions)
		}
	}
	switch c.CommandPath() {
	case "holdfast attack":
		c.ValidArgsFunction = attackNames
	case "holdfast run", "holdfast image lock", "holdfast image build":
		c.ValidArgsFunction = recipes
	}
	for _, sub := range c.Commands() {
		a.complete(sub)
	}
}

func attackNames(_ *cobra.Command, before []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	for _, one := range attack.All() {
		if !slices.Contains(before, one.Name) {
			names = append(names, cobra.CompletionWithDesc(one.Name, one.Change))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// recipes completes the folders that hold one; where there are none, files.
func recipes(_ *cobra.Command, before []string, word string) (folders []string, _ cobra.ShellCompDirective) {
	if len(before) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, pattern := range []string{word + "*/recipe.yaml", "images/*/recipe.yaml"} {
		found, _ := filepath.Glob(pattern)
		for _, path := range found {
			if folder := filepath.Dir(path); strings.HasPrefix(folder, word) && !slices.Contains(folders, folder) {
				folders = append(folders, folder)
			}
		}
	}
	return folders, cobra.ShellCompDirectiveDefault
}
