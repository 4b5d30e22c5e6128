package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/api"
	"holdfast/internal/broker/admin"
	"holdfast/internal/wiring"
)

func (a *app) brokerWhere() *cobra.Command {
	return a.brokerVerb(&cobra.Command{
		Use:   "where PACKAGE[=VERSION]",
		Short: "List the machines whose image contains a package",
		Long: `Lists the machines that ever proved themselves here and whose machine image
contains the package (of Debian, or a Go module), with the configuration that
they ran and the secrets that they were given. In place of = may stand <, <=, >
or >=; versions are ordered as Debian's. "broker trust IMAGE" tells the broker
what an image is made of; machines whose image's contents nobody told are listed
too, as "unknown contents".`,
		Example: "  holdfast broker where libssl3\n  holdfast broker where 'libssl3<3.0.15-1~deb12u1' --json",
		Args:    cobra.ExactArgs(1),
	}, func(ctx context.Context, b *admin.Client, args []string) error {
		wanted, err := wiring.ParseWanted(args[0])
		if err != nil {
			return usageError{err}
		}
		r, err := wiring.Where(ctx, b, wanted)
		if err != nil {
			return fmt.Errorf("where %s: %w", args[0], err)
		}
		return a.answer(r, func(w io.Writer) { printWhere(w, r) })
	})
}

func printWhere(w io.Writer, r *wiring.Whereabouts) {
	for _, h := range r.Machines {
		fmt.Fprintf(w, "%s  %s\n", orUnknown("machine", h.Machine), packagesOf(h))
		fmt.Fprintf(w, "  image          %s\n", orUnknown(printable(h.Name), h.Image))
		fmt.Fprintf(w, "  configuration  %s\n", h.Configuration)
		fmt.Fprintf(w, "  attested       %s, last seen %s\n", h.First.UTC().Format(time.RFC3339), h.Last.UTC().Format(time.RFC3339))
		for _, s := range h.Secrets {
			fmt.Fprintf(w, "  secret         %s  %s\n", printable(s.Resource), s.Time.UTC().Format(time.RFC3339))
		}
	}
	unknown := r.Unknown()
	fmt.Fprintf(w, "%d of %s run an image that contains %s%s%s\n", len(r.Machines)-unknown, count(r.Asked, "machine"), r.Name, r.Op, r.Version)
	if unknown > 0 {
		fmt.Fprintf(w, "%d more run an image of which nobody told what it contains; \"broker trust\" does\n", unknown)
	}
}

func orUnknown(what, digest string) string {
	if digest == "" {
		return strings.TrimSpace(what + " unknown")
	}
	return strings.TrimSpace(what + " " + digest)
}

func packagesOf(h *wiring.Holding) string {
	if h.Unknown {
		return "unknown contents"
	}
	var words []string
	for _, p := range h.Packages {
		words = append(words, packageWords(p))
	}
	return strings.Join(words, ", ")
}

func packageWords(p api.Package) string {
	return strings.TrimSpace(printable(p.Name) + " " + printable(p.Version))
}
