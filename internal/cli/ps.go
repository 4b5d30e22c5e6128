package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/oci"
	"holdfast/internal/wiring"
)

func (a *app) psVerb() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "ps",
		Short: "List runs",
		Long: `Lists the runs that are under way, detached or not; with --all also those that
ended and are kept, and why. A run whose process vanished is dead: what it had
registered at the broker is taken back before the list is shown.

Exit codes: 0 listed, 1 failed, 2 usage.`,
		Example: "  holdfast ps --all",
		Args:    cobra.NoArgs,
	}
	c.Flags().BoolVarP(&all, "all", "a", false, "also those that ended")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := a.installation()
		if err != nil {
			return err
		}
		list, err := dir.Runs(cmd.Context())
		if err != nil {
			a.logger().Warn("something of an earlier run is left", "err", err)
		}
		shown := []*wiring.Record{}
		for _, r := range list {
			if all || !r.Over() {
				shown = append(shown, r)
			}
		}
		return a.answer(map[string]any{"runs": shown}, func(w io.Writer) { printRuns(w, shown) })
	}
	return c
}

func printRuns(w io.Writer, runs []*wiring.Record) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer t.Flush()
	fmt.Fprintln(t, "NAME\tIMAGE\tAGE\tMEMORY\tPORTS\tSTATE")
	for _, r := range runs {
		ports := strings.Join(r.Ports, ", ")
		if ports == "" {
			ports = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d MiB\t%s\t%s\n", r.Name, printable(imageOf(r)), age(time.Since(r.Created)), r.Memory, ports, printable(stateOf(r)))
	}
}

// imageOf names the image as it was asked for, and what it was then.
func imageOf(r *wiring.Record) string {
	if r.Digest == "" || strings.Contains(r.Image, "@") {
		return r.Image
	}
	return r.Image + "@" + oci.Digest(r.Digest).Short()
}

const longReason = 100

func stateOf(r *wiring.Record) string {
	text := string(r.State)
	switch {
	case r.State == wiring.Booting && r.Stage != "":
		text += ": " + r.Stage + " done"
	case r.Exit != nil:
		text = fmt.Sprintf("%s %d", text, *r.Exit)
	case r.Reason != "":
		text += ": " + r.Reason
	}
	if runes := []rune(text); len(runes) > longReason {
		text = string(runes[:longReason-1]) + "…"
	}
	return text
}

// age says a time as one number, as a person would.
func age(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func (a *app) waitVerb() *cobra.Command {
	return a.runsVerb(&cobra.Command{
		Use:   "wait NAME…",
		Short: "Wait for runs to end",
		Long: `Waits until the runs have ended and prints each one's exit code, or why it has
none.

Exit codes: 0 they have ended, 1 there is no such run, 2 usage.`,
		Example: "  holdfast wait db",
	}, wiring.Installation.AwaitRun, func(w io.Writer, r *wiring.Record) {
		if r.Exit != nil {
			fmt.Fprintln(w, *r.Exit)
			return
		}
		fmt.Fprintln(w, printable(stateOf(r)))
	})
}

func (a *app) stopVerb() *cobra.Command {
	grace := 15
	c := a.runsVerb(&cobra.Command{
		Use:   "stop NAME…",
		Short: "Ask runs to end",
		Long: `Asks the workloads to end, with their images' stop signal, and kills those that
take longer than --time. It returns when all that the runs had registered is
taken back. A run that has ended already is left as it is.

Exit codes: 0 they have ended, 1 there is no such run, 2 usage.`,
		Example: "  holdfast stop db\n  holdfast stop --time 60 db",
	}, func(i wiring.Installation, ctx context.Context, name string) (*wiring.Record, error) {
		return i.StopRun(ctx, name, time.Duration(grace)*time.Second)
	}, func(w io.Writer, r *wiring.Record) { fmt.Fprintf(w, "%s: %s\n", r.Name, printable(stateOf(r))) })
	c.Flags().IntVarP(&grace, "time", "t", grace, "seconds that the workload may take; 0 kills it")
	return checked(c, func() error {
		if grace < 0 || grace > 24*60*60 {
			return fmt.Errorf("--time %d: want 0 to %d seconds", grace, 24*60*60)
		}
		return nil
	})
}

func (a *app) killVerb() *cobra.Command {
	return a.runsVerb(&cobra.Command{
		Use:     "kill NAME…",
		Short:   "End runs at once",
		Long:    "Ends the machines without asking their workloads, as stop --time 0.\n\nExit codes: 0 they have ended, 1 there is no such run, 2 usage.",
		Example: "  holdfast kill db",
	}, func(i wiring.Installation, ctx context.Context, name string) (*wiring.Record, error) {
		return i.StopRun(ctx, name, 0)
	}, func(w io.Writer, r *wiring.Record) { fmt.Fprintf(w, "%s: %s\n", r.Name, printable(stateOf(r))) })
}

func (a *app) rmVerb() *cobra.Command {
	var force bool
	c := a.runsVerb(&cobra.Command{
		Use:   "rm NAME…",
		Short: "Forget runs that have ended",
		Long: `Removes what is kept of runs that have ended: output, report, the machine's
console and logs.

Exit codes: 0 removed, 1 one is running or there is no such run, 2 usage.`,
		Example: "  holdfast rm db",
	}, func(i wiring.Installation, ctx context.Context, name string) (*wiring.Record, error) {
		return &wiring.Record{Name: name, Ports: []string{}}, i.RemoveRun(ctx, name, force)
	}, func(w io.Writer, r *wiring.Record) { fmt.Fprintln(w, r.Name) })
	c.Flags().BoolVarP(&force, "force", "f", false, "end those that are running first, at once")
	return c
}
