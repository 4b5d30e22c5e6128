package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/atomicfile"
	"holdfast/internal/attack"
	"holdfast/internal/machine"
	"holdfast/internal/wiring"
)

// attackFlags are the words of attack before they are understood.
type attackFlags struct {
	list         bool
	guest, accel string
	workload     string
	html         string
	jobs         int
	attack.Choice
}

func (a *app) attackVerb() *cobra.Command {
	f := &attackFlags{}
	c := &cobra.Command{
		Use:   "attack [NAME…]",
		Short: "Try to break every promise, and show who refuses",
		Long: `Attacks the chain for real: starts a broker, a registry, software TPMs and
machines, makes one change that an adversary could make, and shows which part
refuses it in which words. Before each attack the same path is tried without
the change, which must succeed.

NAME is an attack or a group of them; --list has both. The installation's own
keys, resources and registry are left alone.

Exit codes: 0 all attacks were held, 1 one was not, or could not be made,
2 usage, 5 something is not installed.`,
		Example: "  holdfast attack --no-boot\n  holdfast attack --sample 3 --seed 1\n  holdfast attack evidence layer-flipped",
	}
	fs := c.Flags()
	fs.BoolVar(&f.list, "list", false, "list the attacks, and make none")
	fs.BoolVar(&f.NoBoot, "no-boot", false, "leave out the attacks that boot machines, half a minute each")
	fs.IntVar(&f.Sample, "sample", 0, "of the attacks that boot machines, make only so many, picked by chance")
	fs.Uint64Var(&f.Seed, "seed", 1, "of that chance: the same seed picks the same attacks")
	fs.IntVar(&f.jobs, "jobs", 1, "machines at a time")
	fs.StringVar(&f.accel, "accel", "auto", "auto, kvm or tcg")
	fs.StringVar(&f.guest, "guest", "", "machine image to attack, or its recipe's folder (default: images/guest here or beside the program)")
	fs.StringVar(&f.workload, "redis", "", "recipe of the workload (default: images/redis)")
	fs.StringVar(&f.html, "html", "", "write the report to this file, too, as a page")
	sources := sourceFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		f.Names = args
		attacks, err := f.Choose(attack.All())
		if err != nil {
			return usageError{err}
		}
		kind, err := parseAccel(f.accel)
		if err != nil {
			return usageError{err}
		}
		if err := f.unfit(cmd.Flags().Changed("seed")); err != nil {
			return usageError{err}
		}
		if f.list {
			return a.answer(map[string]any{"attacks": attacks}, func(w io.Writer) { printAttacks(w, attacks) })
		}
		return a.attack(cmd.Context(), f, kind, *sources, attacks)
	}
	return c
}

// unfit says which words do nothing beside the others.
func (f *attackFlags) unfit(seeded bool) error {
	switch {
	case f.Sample < 0 || f.jobs < 1:
		return errors.New("--sample: want 0 or more, --jobs: 1 or more")
	case f.NoBoot && f.Sample > 0:
		return errors.New("--sample picks from the attacks that boot machines, and --no-boot leaves all of them out")
	case seeded && f.Sample == 0:
		return errors.New("--seed is of a sample: want --sample N, too")
	case f.list && f.html != "":
		return errors.New("--list makes no attack that --html could report")
	}
	return nil
}

func (a *app) attack(ctx context.Context, f *attackFlags, kind machine.Accel, s wiring.Sources, attacks []attack.Attack) (err error) {
	b, err := a.builder(s)
	if err != nil {
		return err
	}
	b.Node = nodeProgram()
	if f.guest == "" {
		f.guest = guestRecipe()
	}
	if f.workload == "" {
		f.workload = redisRecipe()
	}
	var page *atomicfile.File
	if f.html != "" { // that it cannot be written is no news for the end
		if page, err = atomicfile.Create(f.html, 0o644); err != nil {
			return err
		}
		defer page.Discard()
	}
	lab, err := attack.NewLab(attack.Config{Builder: b, Guest: f.guest, Workload: f.workload, Accel: kind, Watch: a.watchAttack()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	report, err := lab.Run(ctx, attacks, f.jobs)
	if err != nil {
		return err
	}
	report.Version, report.Sample = version(), f.Sample
	if f.Sample > 0 {
		report.Seed = f.Seed
	}
	if err := a.answer(report, func(w io.Writer) { printAttackSum(w, report) }); err != nil {
		return err
	}
	if page != nil {
		if err := errors.Join(report.HTML(page), page.Commit()); err != nil {
			return err
		}
	}
	if !report.Held() {
		return exitError(exitFailed)
	}
	return nil
}

// watchAttack prints each attack when it is over.
func (a *app) watchAttack() func(attack.Result) {
	if a.json {
		return nil
	}
	w := a.progress().above(a.Stdout)
	return func(r attack.Result) { printAttack(w, r) }
}

func printAttack(w io.Writer, r attack.Result) {
	mark := "✓"
	if r.Verdict != attack.Held {
		mark = "✗"
	}
	took := time.Duration(r.Milliseconds) * time.Millisecond
	fmt.Fprintf(w, "%s %-14s %s (%s)\n    %s\n    %s\n", mark, r.Group, r.Name, round(took), r.Change,
		printable(attack.Short(r.Says())))
}

// printAttackSum ends the answer; what was not held is told once more.
func printAttackSum(w io.Writer, r *attack.Report) {
	fmt.Fprintf(w, "\n%s, in %s.\n", r.Sum(), round(time.Duration(r.Milliseconds)*time.Millisecond))
	for _, result := range r.Results {
		if result.Verdict != attack.Held {
			fmt.Fprintf(w, "  %s: %s\n", result.Name, printable(attack.Short(result.Says())))
		}
	}
	fmt.Fprintf(w, "Without any change, first:\n")
	for _, name := range r.Controls() {
		fmt.Fprintf(w, "  %s\n", name)
	}
}

// printAttacks lists them by group.
func printAttacks(w io.Writer, attacks []attack.Attack) {
	group := ""
	for _, a := range attacks {
		if a.Group != group {
			group = a.Group
			fmt.Fprintf(w, "%s\n", group)
		}
		boots := ""
		if a.Boots {
			boots = " (boots a machine)"
		}
		fmt.Fprintf(w, "  %-28s %s%s\n", a.Name, a.Change, boots)
	}
}
