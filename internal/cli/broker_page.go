package cli

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/spf13/cobra"

	"holdfast/internal/web"
	"holdfast/internal/wiring"
)

func (a *app) brokerPage() *cobra.Command {
	var listen string
	c := &cobra.Command{
		Use:   "page",
		Short: "Show the broker in a browser: who asked, what was decided and why",
		Long: `Serves pages about this installation's broker, whether it is being served or
not, until it is told to stop, and prints a link. The pages only read. They are
for this machine alone, and the link opens them once, within two minutes; what
it opens ends after half an hour. Run it again for another.

Exit codes: 0 stopped, 1 failed, 2 usage.`,
		Example: "  holdfast broker page",
		Args:    cobra.NoArgs,
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "address on this machine; 0: a free port")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkListen("page", listen); err != nil {
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
		door := &web.Door{}
		log := slog.New(slog.NewTextHandler(a.Stderr, nil))
		s, err := dir.ServeBrokerPages(ring, listen, func(w *wiring.BrokerWatch) http.Handler {
			return (&web.Operator{Watch: w, Door: door, Version: version(), Log: log}).Handler()
		})
		if err != nil {
			return err
		}
		link := s.URL() + door.Ticket()
		if err := a.answer(map[string]string{"link": link}, func(w io.Writer) { fmt.Fprintf(w, "%s\n", link) }); err != nil {
			return err
		}
		<-cmd.Context().Done()
		return s.Close()
	}
	return c
}
