package cli

import (
	"github.com/spf13/cobra"

	"holdfast/internal/wiring"
)

// gatewayFlags are the flags of serve that are about the IPFS gateway.
func gatewayFlags(c *cobra.Command, g *wiring.GatewayConfig) {
	c.Flags().StringVar(&g.Listen, "gateway-listen", "", "address of a read-only IPFS gateway to all of the registry's blobs, for everybody who reaches it, as 127.0.0.1:8081 (default: none)")
	c.Flags().StringArrayVar(&g.Hosts, "gateway-host", nil, "host under which the gateway gives each CID a host of its own, CID.ipfs.HOST (default: localhost)")
}
