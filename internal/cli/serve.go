package cli

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"holdfast/internal/keys"
	"holdfast/internal/seal"
	"holdfast/internal/web"
	"holdfast/internal/wiring"
)

const serveHelp = `Serves the installation's registry (OCI distribution API) and broker (KBS
protocol 0.4.0) until it is told to stop. On loopback they speak plain HTTP
unless --tls is given; on any other address always TLS, with a certificate of
the installation's own CA (keys/tls.crt).
` + accessHelp + upstreamHelp + `
SIGTERM and Ctrl-C answer the requests under way, then stop.

Exit codes: 0 stopped, 1 failed (also when a port is taken), 2 usage.`

func (a *app) serveVerb() *cobra.Command {
	c := &cobra.Command{
		Use:     "serve",
		Short:   "Serve the registry and the broker",
		Long:    serveHelp,
		Example: "  holdfast serve\n  holdfast serve --registry-listen 0.0.0.0:5000 --broker-listen 0.0.0.0:8080",
		Args:    cobra.NoArgs,
	}
	config := serveFlags(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config()
		if err != nil {
			return err
		}
		dir, err := a.installation()
		if err != nil {
			return err
		}
		ring, err := dir.Ring(cmd.Context())
		if err != nil {
			return err
		}
		if err := seal.NoDumps(); err != nil {
			return fmt.Errorf("keep secrets out of core dumps: %w", err)
		}
		cfg.Log = slog.New(slog.NewTextHandler(a.Stderr, nil))
		cfg.Pages = func(registry http.Handler, facts func(*http.Request) wiring.Facts) http.Handler {
			return (&web.Site{Registry: registry, Facts: facts, Version: version()}).Handler()
		}
		s, err := dir.Serve(ring, *cfg)
		if err != nil {
			return err
		}
		if err := a.tellServed(s, dir.Keys()+"/"+keys.TLS+".crt"); err != nil {
			return err
		}
		<-cmd.Context().Done()
		return s.Close()
	}
	return c
}

func serveFlags(c *cobra.Command) func() (*wiring.ServeConfig, error) {
	cfg := &wiring.ServeConfig{}
	c.Flags().StringVar(&cfg.RegistryListen, "registry-listen", "127.0.0.1:5000", "address of the registry")
	c.Flags().StringVar(&cfg.BrokerListen, "broker-listen", "127.0.0.1:8080", "address of the broker")
	c.Flags().BoolVar(&cfg.TLS, "tls", false, "speak TLS on loopback, too")
	c.Flags().BoolVar(&cfg.TPMs.Makers, "trust-tpm-makers", false, "believe the TPMs of all makers whose certificates this program holds")
	c.Flags().StringVar(&cfg.Issuers, "issuers", "", "file that lists other brokers and verifiers whose tokens this broker takes; read again when it changes")
	c.Flags().BoolVar(&cfg.PlainAdminTokens, "plain-admin-tokens", false, "take administrators' tokens as Trustee's kbs-client makes them, too: who sees one can use it again until it expires")
	limits := limitFlags(c)
	gatewayFlags(c, &cfg.Gateway)
	peerFlags(c, &cfg.Peer)
	policyFlags(c, &cfg.Policy)
	evidenceFlags(c, &cfg.Evidence)
	brokerLimitFlags(c, &cfg.BrokerLimits)
	access, upstreams := accessFlags(c), upstreamFlags(c)
	return func() (_ *wiring.ServeConfig, err error) {
		if cfg.RegistryLimits, err = limits(); err != nil {
			return nil, usageError{err}
		}
		if err := checkBrokerLimits(cfg.BrokerLimits); err != nil {
			return nil, usageError{err}
		}
		cfg.Upstreams = upstreams()
		if cfg.Access, err = access(); err != nil {
			return nil, err
		}
		for flag, address := range map[string]string{"registry": cfg.RegistryListen, "broker": cfg.BrokerListen, "gateway": cfg.Gateway.Listen} {
			if address == "" && flag == "gateway" {
				continue
			}
			if err := checkListen(flag, address); err != nil {
				return nil, usageError{err}
			}
		}
		if err := checkPeer(&cfg.Peer); err != nil {
			return nil, usageError{err}
		}
		return cfg, nil
	}
}

// tellServed says where everything answers.
func (a *app) tellServed(s *wiring.Services, ca string) error {
	ready := map[string]any{"registry": s.RegistryURL(), "broker": s.BrokerURL(), "issuer": s.BrokerName(), "ca": ca}
	if s.GatewayURL() != "" {
		ready["gateway"] = s.GatewayURL()
	}
	if addresses := s.PeerAddresses(); len(addresses) > 0 {
		ready["swarm"] = addresses
	}
	return a.answer(ready, func(w io.Writer) {
		fmt.Fprintf(w, "registry %s\nbroker   %s\nissuer   %s\n", s.RegistryURL(), s.BrokerURL(), s.BrokerName())
		if s.GatewayURL() != "" {
			fmt.Fprintf(w, "gateway  %s\n", s.GatewayURL())
		}
		printPeerAddresses(w, s.PeerAddresses())
	})
}

func checkListen(service, address string) error {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("--%s-listen %q: want HOST:PORT, as 127.0.0.1:5000", service, address)
	}
	return nil
}
