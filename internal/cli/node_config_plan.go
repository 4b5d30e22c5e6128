package cli

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/ignition/plan"
	"holdfast/internal/wiring"
)

// exitChanges is plan's alone: something would change.
const exitChanges = 6

// A plannedConfig is the answer of "node config plan".
type plannedConfig struct {
	File string `json:"file"`
	// Converged says that applying the config would change nothing.
	Converged bool          `json:"converged"`
	Changes   []plan.Change `json:"changes"`
}

func (a *app) nodeConfigPlan() *cobra.Command {
	var on wiring.PlanOn
	var files string
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "plan FILE",
		Short: "Say what a config would change in a folder or on a disk",
		Long: `Prints what applying a config would do to the root folder --root or to disks,
whose images --disk names, and does nothing to them: a line for each partition,
filesystem, user, file, link, unit and kernel argument with create, change,
resize, delete, keep, refuse or unknown, and its field of the config. What the
config refers to is fetched. FILE is - for standard input.

Files are planned by the engine itself, on a layer that is thrown away: that
takes root. The record of the run, which each run writes, is not told.

Exit codes: 0 nothing would change, 6 something would, 3 the engine would refuse
or the config is not valid, 1 cannot be read or fetched, 2 usage.`,
		Example: "  holdfast node config plan machine.bu --root /srv/machine\n  holdfast node config plan machine.bu --disk /dev/vda=disk.img --json",
		Args:    cobra.ExactArgs(1),
	}
	filesFlag(c, &files)
	c.Flags().StringVar(&on.Root, "root", "", "folder that the config would be applied to; / is this machine")
	c.Flags().StringArrayVar(&on.Disks, "disk", nil, "DEVICE=IMAGE, or IMAGE of the only disk; may be repeated")
	c.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "for each thing that is fetched, with its retries, where the config has no timeouts")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if on.Root == "" && len(on.Disks) == 0 {
			return usageError{errors.New("give --root FOLDER, --disk IMAGE, or both")}
		}
		d, err := a.loadNodeConfig(args[0], files)
		if err != nil {
			return err
		}
		p, err := wiring.NodeConfig{Files: files, Root: rootOf(args[0]), Timeout: timeout}.Plan(cmd.Context(), args[0], d, on)
		if err != nil {
			return err
		}
		planned := plannedConfig{File: args[0], Converged: !p.IsChange() && !p.Has(plan.Refuse), Changes: p.Changes}
		if err := a.answer(planned, planned.print); err != nil {
			return err
		}
		return planVerdict(p)
	}
	return c
}

func planVerdict(p *plan.Plan) error {
	switch {
	case p.Has(plan.Refuse):
		return exitError(exitRefused)
	case p.IsChange():
		return exitError(exitChanges)
	}
	return nil
}

func (p plannedConfig) print(w io.Writer) {
	count := map[plan.Action]int{}
	for _, c := range p.Changes {
		count[c.Action]++
		line := fmt.Sprintf("%-8s %s %s", c.Action, c.Kind, printable(c.Name))
		if c.Field != "" {
			line += " (" + printable(c.Field) + ")"
		}
		if c.Why != "" {
			line += ": " + printable(c.Why)
		}
		fmt.Fprintln(w, line)
	}
	if p.Converged {
		fmt.Fprintln(w, "nothing would change")
		return
	}
	fmt.Fprintf(w, "%d to create, %d to change, %d to delete, %d refused\n",
		count[plan.Create], count[plan.Update]+count[plan.Resize], count[plan.Delete], count[plan.Refuse])
}
