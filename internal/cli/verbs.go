package cli

import (
	"fmt"
	"log/slog"
	"maps"

	"github.com/spf13/cobra"

	"holdfast/internal/nearest"
	"holdfast/internal/wiring"
)

// verbs lists the command line, in the order of the help.
func (a *app) verbs() []*cobra.Command {
	return []*cobra.Command{
		a.demoVerb(), a.attackVerb(), a.runVerb(), a.psVerb(), a.logsVerb(), a.stopVerb(), a.killVerb(), a.waitVerb(), a.rmVerb(),
		a.verifyVerb(), a.whyVerb(),
		a.serveVerb(), a.registryVerbs(), a.imageVerbs(), a.nodeVerbs(), a.clusterVerbs(), a.podVerbs(), a.blobVerbs(), a.peerVerbs(), a.brokerVerbs(), a.policyVerbs(), a.secretVerbs(), a.keyVerbs(), a.completionVerb(), a.runDetached(),
	}
}

func (a *app) installation() (wiring.Installation, error) { return wiring.Open(a.state) }

// group is a noun, which does nothing but hold its verbs.
func group(noun, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: noun, Short: short,
		Args: nounArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(verbs...)
	return c
}

// nounArgs refuses a word that is none of the noun's verbs.
func nounArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	names := map[string]bool{}
	for _, sub := range c.Commands() {
		names[sub.Name()] = true
	}
	return fmt.Errorf("unknown command %.40q for %q%s", args[0], c.CommandPath(), nearest.Hint(args[0], maps.Keys(names)))
}

// logger writes above the live line; without --verbose it writes warnings only.
func (a *app) logger() *slog.Logger {
	level := slog.LevelWarn
	if a.talk {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(a.progress(), &slog.HandlerOptions{Level: level}))
}
