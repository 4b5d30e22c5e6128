package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/spf13/cobra"

	"holdfast/internal/broker/admin"
	"holdfast/internal/web"
	"holdfast/internal/wiring"
)

func (a *app) brokerPage() *cobra.Command {
	var listen string
	c := &cobra.Command{
		Use:   "page",
		Short: "Show the broker in a browser: who asked, what was decided and why",
		Long: `Serves pages about this installation's broker, whether it is being served or
not, until it is told to stop, and prints a link. With --broker they are about
one that is served elsewhere, and show what its API tells an administrator: the
role auditor is enough. The pages only read. They are for this machine alone,
and the link opens them once, within two minutes; what it opens ends after half
an hour. Run it again for another.

Exit codes: 0 stopped, 1 failed, 2 usage, 3 the broker refused.`,
		Example: `  holdfast broker page
  holdfast broker page --broker https://broker.example:8080 --admin-key anna.pem --admin-role auditor --broker-root broker-root.crt`,
		Args: cobra.NoArgs,
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "address on this machine; 0: a free port")
	client := a.brokerFlags(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkListen("page", listen); err != nil {
			return usageError{err}
		}
		door := &web.Door{}
		pages := pageServer(a.ownPages)
		if cmd.Flags().Changed("broker") {
			pages = a.pagesElsewhere(client, cmd.Flag("broker-root").Value.String())
		} else if cmd.Flags().Changed("admin-key") {
			return usageError{errors.New("--admin-key goes with --broker: the pages read this installation's own broker without one")}
		}
		s, err := pages(cmd.Context(), listen, func(w web.Watch) http.Handler {
			return (&web.Operator{Watch: w, Door: door, Version: version(), Log: slog.New(slog.NewTextHandler(a.Stderr, nil))}).Handler()
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

// A pageServer serves what is made of a watch.
type pageServer func(ctx context.Context, listen string, handler func(web.Watch) http.Handler) (*wiring.BrokerPages, error)

func (a *app) ownPages(ctx context.Context, listen string, handler func(web.Watch) http.Handler) (*wiring.BrokerPages, error) {
	dir, err := a.installation()
	if err != nil {
		return nil, err
	}
	ring, err := dir.Ring(ctx)
	if err != nil {
		return nil, err
	}
	return dir.ServeBrokerPages(ring, listen, func(w *wiring.BrokerWatch) http.Handler { return handler(w) })
}

func (a *app) pagesElsewhere(client func(context.Context) (*admin.Client, error), root string) pageServer {
	return func(ctx context.Context, listen string, handler func(web.Watch) http.Handler) (*wiring.BrokerPages, error) {
		b, err := client(ctx)
		if err != nil {
			return nil, err
		}
		roots, err := a.brokerRoots(ctx, root)
		if err != nil {
			return nil, err
		}
		w, err := wiring.WatchRemote(b, roots)
		if err != nil {
			return nil, err
		}
		if _, err = w.Images(ctx); err == nil { // a refusal is told here, not in the browser
			var s *wiring.BrokerPages
			if s, err = wiring.ServeRemotePages(w, listen, handler(w)); err == nil {
				return s, nil
			}
		}
		return nil, errors.Join(err, w.Close())
	}
}

// brokerRoots vouch for what a broker signed: by a file, or the installation's.
func (a *app) brokerRoots(ctx context.Context, file string) (*x509.CertPool, error) {
	if file != "" {
		return wiring.Deputy{Root: file}.RootPool()
	}
	dir, err := a.installation()
	if err != nil {
		return nil, err
	}
	ring, err := dir.Ring(ctx)
	if err != nil {
		return nil, err
	}
	return ring.RootPool(), nil
}
