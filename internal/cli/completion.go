package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
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

// choices completes a flag that takes one of a few words.
func choices(c *cobra.Command, flag string, words ...string) {
	_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// completeRun completes the flags of run; images and recipes are files.
func (a *app) completeRun(c *cobra.Command) {
	choices(c, "accel", "auto", "kvm", "tcg")
	choices(c, "log", "file", "none")
	choices(c, "memory", "512m", "1g", "2g", "4g")
	for _, flag := range []string{"name", "publish", "env", "tmpfs", "cpus", "user", "hostname", "entrypoint", "broker"} {
		_ = c.RegisterFlagCompletionFunc(flag, cobra.NoFileCompletions)
	}
	c.ValidArgsFunction = func(_ *cobra.Command, before []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(before) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveDefault
	}
}
