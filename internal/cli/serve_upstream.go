package cli

import (
	"net/http"

	"github.com/spf13/cobra"

	"holdfast/internal/upstream"
	"holdfast/internal/wiring"
)

const upstreamHelp = `
What the registry lacks under the prefix of another registry, it gets from
there, keeps, and gives again when the other is down: --upstreams names the
file that lists them.
`

// upstreamFlags are the flags of where to get what is missing.
func upstreamFlags(c *cobra.Command) func() *wiring.UpstreamConfig {
	file := c.Flags().String("upstreams", "", "file that lists registries to get from what is missing here")
	return func() *wiring.UpstreamConfig {
		if *file == "" {
			return nil
		}
		return &wiring.UpstreamConfig{File: *file, Config: upstream.Config{Proxy: http.ProxyFromEnvironment}}
	}
}
