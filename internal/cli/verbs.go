package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"holdfast/internal/wiring"
)

// verbs lists the command line, in the order of the help.
func (a *app) verbs() []*cobra.Command {
	return []*cobra.Command{a.demoVerb(), a.runVerb(), a.serveVerb(), a.imageVerbs(), a.brokerVerbs(), a.keyVerbs()}
}

func (a *app) installation() (wiring.Installation, error) { return wiring.Open(a.state) }

// group is a noun, which does nothing but hold its verbs.
func group(noun, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: noun, Short: short,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for %q", args[0], "holdfast "+noun)
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(verbs...)
	return c
}
