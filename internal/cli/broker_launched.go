package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/api"
	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
	"holdfast/internal/wiring"
)

// launchWords are the flags of broker launched.
type launchWords struct {
	base, out, snp, mrtd string
	tcb, rtmrs           map[string]string
	statuses             []string
}

func (a *app) brokerLaunched() *cobra.Command {
	var w launchWords
	c := &cobra.Command{
		Use:   "launched NAME --out FILE",
		Short: "Sign how an image is launched on confidential hardware",
		Long: `Writes signed reference values of the image NAME to FILE, for "broker trust":
the launch measurement and the least firmware under AMD SEV-SNP, or MRTD and
RTMRs under Intel TDX. --add-to takes what "image build" wrote of the image (its
PCRs), which evidence of machines at Azure is judged by, too. The signature is
by this installation's image key.

Exit codes: 0 done, 1 failed, 2 usage.`,
		Example: "  holdfast broker launched guest --out launch.json \\\n    --snp-measurement 1f0c… --snp-minimum bootloader=10,tee=0,snp=23,microcode=25",
		Args:    cobra.ExactArgs(1),
	}
	c.Flags().StringVar(&w.base, "add-to", "", "signed reference values to add to")
	c.Flags().StringVar(&w.out, "out", "", "file to write")
	c.Flags().StringVar(&w.snp, "snp-measurement", "", "launch measurement, 96 hex digits")
	c.Flags().Var(pairs{&w.tcb}, "snp-minimum", "least security patch levels: bootloader, tee, snp, microcode, and fmc on Turin")
	c.Flags().StringVar(&w.mrtd, "tdx-mrtd", "", "MRTD, 96 hex digits")
	c.Flags().Var(pairs{&w.rtmrs}, "tdx-rtmr", "NUMBER=VALUE; 1 and 2 at least")
	c.Flags().StringSliceVar(&w.statuses, "tdx-status", nil, "Intel's words for platforms that will do (default: UpToDate)")
	_ = c.MarkFlagRequired("out") // the flag is there
	c.RunE = func(cmd *cobra.Command, args []string) error {
		l, err := w.launch(args[0])
		if err != nil {
			return usageError{err}
		}
		dir, err := a.installation()
		if err != nil {
			return err
		}
		ring, err := dir.Ring(cmd.Context())
		if err != nil {
			return err
		}
		raw, err := wiring.Launched(ring, l)
		if err != nil {
			return fmt.Errorf("reference values of %s: %w", args[0], err)
		}
		if err := atomicfile.WriteFile(w.out, raw, 0o644); err != nil {
			return err
		}
		return a.answer(map[string]string{"written": w.out}, func(out io.Writer) { fmt.Fprintf(out, "wrote %s\n", w.out) })
	}
	return c
}

func (w launchWords) launch(name string) (wiring.Launch, error) {
	l := wiring.Launch{Image: name}
	if w.base != "" {
		var err error
		if l.Base, err = input.ReadFile(w.base, input.Document); err != nil {
			return l, err
		}
	}
	if w.snp != "" {
		levels := map[string]uint8{}
		for part, text := range w.tcb {
			n, err := strconv.ParseUint(text, 10, 8)
			if err != nil {
				return l, fmt.Errorf("--snp-minimum %s=%.20s: want a number from 0 to 255", part, text)
			}
			levels[part] = uint8(n)
		}
		l.SNP = []api.SNPReference{{Measurement: w.snp, MinimumTCB: levels}}
	}
	if w.mrtd != "" {
		l.TDX = []api.TDXReference{{MRTD: w.mrtd, RTMRs: w.rtmrs, TCBStatus: w.statuses}}
	}
	return l, nil
}

// pairs are NAME=VALUE,… into a map, each name once.
type pairs struct{ into *map[string]string }

func (p pairs) Type() string   { return "NAME=VALUE,…" }
func (p pairs) String() string { return "" }

func (p pairs) Set(text string) error {
	if *p.into == nil {
		*p.into = map[string]string{}
	}
	for pair := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(pair, "=")
		if _, twice := (*p.into)[name]; !ok || name == "" || twice {
			return fmt.Errorf("%.40q: want NAME=VALUE, each name once", pair)
		}
		(*p.into)[name] = value
	}
	return nil
}
