package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/broker"
	"holdfast/internal/wiring"
)

// brokerLimitFlags are the words of serve that bound what parties may ask of
// its broker.
func brokerLimitFlags(c *cobra.Command, l *wiring.BrokerLimits) {
	c.Flags().IntVar(&l.Sessions, "max-sessions", 16384, "attested sessions that the broker holds, 4 KiB each; more are told to come again")
	c.Flags().IntVar(&l.SessionsPerDevice, "device-sessions", 16, "sessions of one device (a processor counts as 64): the oldest ends for the newest")
	c.Flags().Var((*rate)(&l.Source), "source-rate", "requests of handshakes (two each) of one address, and how many at once; off: no bound (default 200/s,1000)")
	c.Flags().Var((*rate)(&l.Device), "device-rate", "attestations of one device (a processor counts as 64; default 1/s,60)")
	c.Flags().Var((*rate)(&l.Token), "token-rate", "resources by one attestation (default 200/s,1000)")
}

func checkBrokerLimits(l wiring.BrokerLimits) error {
	for flag, n := range map[string]int{"max-sessions": l.Sessions, "device-sessions": l.SessionsPerDevice} {
		if n < 1 {
			return fmt.Errorf("--%s %d: want at least 1", flag, n)
		}
	}
	return nil
}

// rate reads NUMBER/UNIT,BURST.
type rate broker.Rate

func (r *rate) Type() string   { return "RATE" }
func (r *rate) String() string { return "" }

func (r *rate) Set(text string) error {
	if text == "off" {
		*r = rate{Every: -1}
		return nil
	}
	often, burst, _ := strings.Cut(text, ",")
	number, unit, _ := strings.Cut(often, "/")
	n, err := strconv.ParseUint(number, 10, 24)
	per, known := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
	b, noBurst := strconv.ParseUint(burst, 10, 24)
	if err != nil || n == 0 || !known || noBurst != nil || b == 0 {
		return fmt.Errorf("want NUMBER/s,BURST as 200/s,1000 (or /m, /h), or off")
	}
	*r = rate{Every: per / time.Duration(n), Burst: int(b)}
	return nil
}
