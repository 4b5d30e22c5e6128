package cli

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/spf13/cobra"

	"holdfast/internal/wiring"
)

// runsVerb is a verb that does the same to each of several runs, at once, and
// says of each how it went.
func (a *app) runsVerb(c *cobra.Command, do func(wiring.Installation, context.Context, string) (*wiring.Record, error),
	show func(io.Writer, *wiring.Record)) *cobra.Command {
	c.Args = cobra.MinimumNArgs(1)
	c.ValidArgsFunction = a.runNames
	c.RunE = func(cmd *cobra.Command, names []string) error {
		dir, err := a.installation()
		if err != nil {
			return err
		}
		records, problems := make([]*wiring.Record, len(names)), make([]error, len(names))
		var all sync.WaitGroup
		for i, name := range names {
			all.Go(func() { records[i], problems[i] = do(dir, cmd.Context(), name) })
		}
		all.Wait()
		done := []*wiring.Record{}
		for i, r := range records {
			if problems[i] == nil {
				done = append(done, r)
			}
		}
		failed := errors.Join(problems...)
		if len(done) == 0 && failed != nil {
			return failed
		}
		err = a.answer(map[string]any{"runs": done}, func(w io.Writer) {
			for _, r := range done {
				show(w, r)
			}
		})
		return errors.Join(failed, err)
	}
	return c
}

// checked has a verb look at its words before it does anything.
func checked(c *cobra.Command, look func() error) *cobra.Command {
	run := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := look(); err != nil {
			return usageError{err}
		}
		return run(cmd, args)
	}
	return c
}
