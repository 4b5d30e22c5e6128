package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/machine"
	"holdfast/internal/wiring"
)

func (a *app) demoVerb() *cobra.Command {
	var accel, guest, redis string
	c := &cobra.Command{
		Use:   "demo",
		Short: "Run the whole chain, then break it on purpose",
		Long: `Composes a machine image and a Redis image, encrypts the latter, boots a machine
that proves itself, talks to Redis, and prints the chain: what was measured,
what was expected, and who released which key to what. Then it flips one byte
and shows the refusal.

Exit codes: 0 the chain held both times, 1 it did not, 2 usage, 5 something is
not installed.`,
		Example: "  holdfast demo\n  holdfast demo --json",
		Args:    cobra.NoArgs,
	}
	c.Flags().StringVar(&accel, "accel", "auto", "auto, kvm or tcg")
	c.Flags().StringVar(&guest, "guest", "", "recipe of the machine (default: images/guest)")
	c.Flags().StringVar(&redis, "redis", "", "recipe of the workload (default: images/redis)")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		kind, err := machine.ParseAccel(accel)
		if err != nil {
			return usageError{err}
		}
		b, err := a.builder(wiring.Sources{})
		if err != nil {
			return err
		}
		b.Node = nodeProgram()
		if guest == "" {
			guest = guestRecipe()
		}
		if redis == "" {
			redis = redisRecipe()
		}
		out := a.progress()
		d, err := b.Installation.Demonstrate(cmd.Context(), wiring.Demo{
			Builder: b, Guest: guest, Redis: redis, Accel: kind,
			Say: func(format string, args ...any) {
				if !a.json && !a.quiet {
					fmt.Fprintf(out, format+"\n", args...)
				}
			},
		})
		if err != nil {
			return err
		}
		return a.answer(d, func(w io.Writer) { printDemo(w, d) })
	}
	return c
}

func printDemo(w io.Writer, d *wiring.DemoResult) {
	fmt.Fprintf(w, "\nThe chain\n\n")
	printReport(w, d.Good)
	fmt.Fprintf(w, "\nRedis at %s\n", d.Endpoint)
	for _, line := range d.Talk {
		fmt.Fprintf(w, "  %s\n", line)
	}
	fmt.Fprintf(w, "\nWith one byte of the image flipped\n  %s\n", d.Refusal)
	fmt.Fprintf(w, "\nIt held both times. The TPM here is software, run by this host: it proves the\nmechanism, not independence from the host (docs/threat-model.md).\n")
}

// printReport tells the chain in the order of the boot.
func printReport(w io.Writer, r *wiring.Report) {
	fmt.Fprintf(w, "  machine image   %s\n    UKI           %s\n    root hash     %s\n", r.Machine.Image, r.Machine.UKI, r.Machine.RootHash)
	fmt.Fprintf(w, "  workload        %s\n", r.Workload.Digest)
	for _, k := range r.Workload.Keys {
		fmt.Fprintf(w, "    encrypted for %s\n", k)
	}
	fmt.Fprintf(w, "  configuration   %s\n", r.Configuration)
	fmt.Fprintf(w, "\n  measured by the machine's TPM, and expected by the reference values\n")
	for _, m := range r.Measured {
		verdict := "as expected"
		if !m.Good() {
			verdict = "expected " + m.Expected
		}
		fmt.Fprintf(w, "    PCR %-2d  %s  %s: %s\n", m.PCR, m.Value, verdict, m.Meaning)
	}
	fmt.Fprintf(w, "\n  released\n    by the broker   token key %s\n    to the machine  endorsement key %s\n", r.BrokerKey, r.Endorsement)
	for _, d := range r.Decisions {
		fmt.Fprintf(w, "    %-7s %s\n", d.Decision, strings.TrimSpace(d.Action+" "+d.Resource))
	}
	fmt.Fprintf(w, "\n  workload ran %s after the machine was switched on\n", round(r.StartedAfter))
}
